"""`emotape doctor`: facts become findings by a table, each has words and a cure, and a real run changes nothing."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from emotape.delivery.cli import app
from emotape.delivery.cli.doctor import sentence
from emotape.delivery.doctor import checks
from emotape.delivery.doctor.checks import Finding, Memory, Process, TorchFacts
from emotape.wording import interface_text, known_codes

if TYPE_CHECKING:
    from pathlib import Path

GB = 10**9
HOG = Process(7, "browser", 3 * GB)
ROOMY = Memory(16 * GB, 8 * GB, GB)

TABLE: list[tuple[Finding, str, str]] = [
    (checks.decoding({"wav": None, "mp3": None}), "green", "decoder_fine"),
    (checks.decoding({"wav": None, "mp3": "no codec"}), "amber", "decoder_broken"),
    (checks.decoding({"wav": "no", "mp3": "no"}), "red", "decoder_broken"),
    (checks.torch_build(TorchFacts("2.13")), "green", "torch_processor"),
    (checks.torch_build(TorchFacts("2.13", "12.8", works=True, driver="570.1")), "green", "torch_card"),
    (checks.torch_build(TorchFacts("2.13", None, driver="570.1")), "amber", "torch_without_cuda"),
    (checks.torch_build(TorchFacts("2.13", "12.8", driver="450.1")), "amber", "torch_driver"),
    (checks.models({"a": None}, "a")[0], "green", "model_whole"),
    (checks.models({"a": None, "b": "cut short"}, "a")[1], "amber", "model_damaged"),
    (checks.models({"a": "cut short"}, "a")[0], "red", "model_damaged"),
    (checks.port(7860, free=True, other=7861), "green", "port_free"),
    (checks.port(7860, free=False, other=7861), "amber", "port_busy"),
    (checks.disk("/", 3 * GB), "green", "disk_fine"),
    (checks.disk("/", GB), "amber", "disk_full"),
    (checks.disk("/", GB // 10), "red", "disk_full"),
    (checks.cache_folder("/c", None), "green", "cache_fine"),
    (checks.cache_folder("/c", "read-only"), "amber", "cache_closed"),
    (checks.redis(None, None), "green", "redis_none"),
    (checks.redis("r:6379", None), "green", "redis_answers"),
    (checks.redis("r:6379", "ConnectionError"), "red", "redis_silent"),
    (checks.database(None, None), "green", "database_none"),
    (checks.database("d:5432/app", None), "green", "database_answers"),
    (checks.database("d:5432/app", "refused"), "red", "database_silent"),
    (checks.limits(None, 4, ROOMY)[0], "green", "limits_none"),
    (checks.limits(1.5, 4, ROOMY)[0], "green", "limits_fine"),
    (checks.limits(None, 4, Memory(16 * GB, GB, GB, limit=GB // 2))[0], "red", "limits_tight"),
    (checks.free_memory(ROOMY, (HOG,)), "green", "memory_fine"),
    (checks.free_memory(Memory(16 * GB, GB, 2 * GB), (HOG,)), "amber", "memory_short"),
    (checks.free_memory(Memory(GB, GB // 2, 2 * GB), ()), "red", "memory_short"),
    (checks.swapping(ROOMY), "green", "swap_unneeded"),
    (checks.swapping(Memory(4 * GB, GB, GB)), "amber", "swap_none"),
    (checks.swapping(Memory(16 * GB, 8 * GB, GB, GB, 0, 60)), "green", "swap_fine"),
    (checks.swapping(Memory(16 * GB, 8 * GB, GB, GB, 0, 90)), "amber", "swap_eager"),
    (checks.swapping(Memory(16 * GB, 8 * GB, GB, GB, GB // 2, 10)), "amber", "swap_used"),
    (checks.open_files(20_000, 1 << 20), "green", "files_fine"),
    (checks.open_files(None, None), "green", "files_fine"),
    (checks.open_files(512, 1 << 20), "amber", "files_few"),
    (checks.open_files(64, 1 << 20), "red", "files_few"),
    (checks.open_files(4_096, 10_000), "amber", "files_few_in_all"),
    (checks.workers(8, started=True), "green", "workers_start"),
    (checks.workers(8, started=False), "amber", "workers_refused"),
    (Finding("plan", "red", "plan_failed", {"reason": "no model"}, "emotape plan"), "red", "plan_failed"),
]


@pytest.mark.parametrize(("finding", "level", "code"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_fact_means(finding: Finding, level: str, code: str) -> None:
    """The level and the words follow from the fact; what is amiss has a command on one line, and what is well none."""
    assert (finding.level, finding.code) == (level, code)
    english, chinese = sentence(finding, "en"), sentence(finding, "zh")
    assert english != chinese or english == ""  # a model's damage is told in one language
    assert bool(finding.cure) == (level != "green")
    assert "\n" not in finding.cure
    assert interface_text(f"doctor_check_{finding.check}", "zh")


def test_every_text_of_the_doctor_is_a_finding_of_the_table() -> None:
    """Nothing is worded that cannot happen, and nothing happens that the table does not have."""
    own = {"doctor_green", "doctor_amber", "doctor_red"}
    worded = {
        code for code in known_codes("texts") if code.startswith("doctor_") and not code.startswith("doctor_check_")
    }
    assert worded - own == {f"doctor_{code}" for _, _, code in TABLE}


@pytest.mark.parametrize(
    ("levels", "code"), [((), 0), (("green",), 0), (("green", "amber"), 1), (("red", "amber"), 2), (("red",), 2)]
)
def test_the_exit_code_is_the_worst_finding(levels: tuple[checks.Level, ...], code: int) -> None:
    assert checks.exit_code(Finding("port", level, "port_free") for level in levels) == code


def test_a_real_run_names_a_taken_port_and_a_silent_redis_but_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Real decoders, real models, a real socket; the answer is data, and a password is nowhere in it."""
    monkeypatch.setenv("EMOTAPE_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as closed:
        silent = closed.getsockname()[1]
        closed.close()
        monkeypatch.setenv("EMOTAPE_PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("EMOTAPE_REDIS_URL", f"redis://user:hush@127.0.0.1:{silent}/0")
        monkeypatch.setenv("EMOTAPE_DATABASE_URL", f"postgresql://user:hush@127.0.0.1:{silent}/jobs")
        done = CliRunner().invoke(app, ["doctor", "--json", "--language", "zh"])
    found = {finding["code"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 2
    assert {"decoder_fine", "model_whole", "port_busy", "workers_start"} <= found.keys()
    assert found["redis_silent"]["cure"] == f"redis-cli -h 127.0.0.1 -p {silent} ping"
    assert found["database_silent"]["cure"] == f"pg_isready -h 127.0.0.1 -p {silent}"
    assert "hush" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_there_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In words, with the sign of a failure and the command that mends it."""
    monkeypatch.setenv("EMOTAPE_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    done = CliRunner().invoke(app, ["doctor", "--model", "plus-base", "--language", "en"])
    assert done.exit_code == 2
    assert "$ emotape plan" in done.stdout
    assert "✗ fail  models: plus-base" in done.stdout

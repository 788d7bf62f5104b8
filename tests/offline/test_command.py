"""The command as users run it, on real speech with the bundled model: equality, errors, kills, one writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from rich.console import Console
from typer.testing import CliRunner

from emotape.delivery.cli import app
from emotape.delivery.offline.output import JOURNAL
from emotape.delivery.offline.reporting import Count, Report
from emotape.delivery.offline.run import Tally
from tests.offline.conftest import Numbers, Results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

    from emotape.recognizer import Recognizer


def batch(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "emotape", "batch", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_rows_hold_what_the_recognizer_says(
    speech: Callable[[int], Path], tmp_path: Path, recognizer: Recognizer
) -> None:
    """To the bit, with frames, embeddings and quality; a bad file is a row that says so."""
    folder = speech(6)
    done = batch(folder, "--output", "out.parquet", "--granularity", "frame", "--embedding", "--quality")
    assert done.exit_code == 1, done.output
    assert "6 answers and 1 failures" in done.stderr
    found = Results(tmp_path / "out.parquet").by_path()
    assert not (tmp_path / "out.parquet.parts").exists()
    assert len(found) == 7
    for path in folder.rglob("[0-9]*.wav"):
        row = found[str(path)]
        expected = recognizer.recognize(path, granularity="frame", embedding=True, quality=True)
        assert (row["emotion"], row["uncertain"]) == (expected.emotion, expected.uncertain)
        assert {key: row[f"score_{key}"] for key in expected.scores} == dict(expected.scores)
        assert np.array_equal(np.array(row["frames"], np.float32), np.asarray(expected.frames))
        assert np.array_equal(np.array(row["embedding"], np.float32), np.asarray(expected.embedding))
        assert row["warnings"] == list(expected.warnings)
        assert row["quality_rms_dbfs"] == pytest.approx(expected.quality.rms_dbfs)  # type: ignore[union-attr]
        assert (row["model_digest"], row["dtype"]) == (expected.provenance.model_digest, expected.provenance.dtype)
    failed = found[str(folder / "text.wav")]
    assert (failed["error_code"], failed["error_passing"], failed["emotion"]) == ("text_not_audio", False, None)


def test_a_manifest_becomes_json_lines_with_its_columns_in_the_language_asked_for(
    speech: Callable[[int], Path], tmp_path: Path
) -> None:
    folder = speech(2)
    (folder / "list.csv").write_text("path,speaker\n0/000.wav,anna\n1/001.wav,bert\ngone.wav,anna\n", "utf-8")
    ask: list[str | Path] = [
        folder / "list.csv",
        "--output",
        "out",
        "--jsonl",
        "--granularity",
        "segment",
        "--language",
        "zh",
    ]
    assert batch(*ask).exit_code == 1
    found = Results(tmp_path / "out").by_path()
    assert [found[name]["speaker"] for name in ("0/000.wav", "1/001.wav", "gone.wav")] == ["anna", "bert", "anna"]
    assert all(segment["start"] < segment["stop"] for segment in found["0/000.wav"]["segments"])
    assert found["gone.wav"]["error_passing"] is True
    assert not found["gone.wav"]["error_message"].isascii()
    (folder / "gone.wav").write_bytes((folder / "0" / "000.wav").read_bytes())
    assert batch(*ask).exit_code == 1, "what failed stays until it is asked for"
    assert batch(*ask, "--retry-failed").exit_code == 0
    assert Results(tmp_path / "out").by_path()["gone.wav"]["emotion"] is not None


def test_a_run_killed_at_random_moments_goes_on_and_nothing_stands_twice(
    speech: Callable[[int], Path], tmp_path: Path
) -> None:
    """By kill -9 of the real command, twice; what it had answered by then is not answered again."""
    folder = speech(40)
    ask: list[str | Path] = [folder, "--output", "out", "--part-rows", "7"]
    journal = tmp_path / "out" / JOURNAL
    kept = 0
    for _ in range(2):
        with started(*ask) as process:
            while process.poll() is None and _kept(tmp_path / "out", journal) <= kept:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        kept = _kept(tmp_path / "out", journal)
        assert kept > 0
    before = {
        row["path"] for part in (tmp_path / "out").glob("part-*") for row in pa.parquet.read_table(part).to_pylist()
    }
    done = batch(*ask)
    assert done.exit_code == 1
    assert len(Results(tmp_path / "out").by_path()) == 41
    (known,) = [line for line in done.stderr.splitlines() if "were there before" in line]
    assert int(known.split(";")[1].split()[0]) >= len(before)


def _kept(output: Path, journal: Path) -> int:
    """Return a figure that grows with what is done."""
    return 10**6 * len(list(output.glob("part-*"))) + (journal.stat().st_size if journal.exists() else 0)


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(speech: Callable[[int], Path], tmp_path: Path) -> None:
    folder = speech(60)
    with started(folder, "--output", "out") as process:
        while process.poll() is None and not _kept(tmp_path / "out", tmp_path / "out" / JOURNAL):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read()
    assert process.returncode == 130
    assert "the same command goes on" in told
    assert "Traceback" not in told
    assert Results(tmp_path / "out").by_path(), "what was done can be read"


@pytest.mark.parametrize(
    "arguments",
    [
        ["gone", "--output", "out"],
        ["calls", "--output", "out.parquet", "--jsonl"],
        ["calls", "--output", "out", "--workers", "2"],
        ["calls", "--output", "calls"],
        ["calls"],
    ],
)
def test_wrong_usage_is_exit_code_two(speech: Callable[[int], Path], arguments: list[str]) -> None:
    speech(1)
    done = batch(*arguments)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("missing", "option", "code"), [("pyarrow", (), "pyarrow"), ("ray", ("--ray", "local"), "ray")]
)
def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(
    speech: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, missing: str, option: tuple[str, ...], code: str
) -> None:
    folder = speech(1)
    for name in (missing, f"{missing}.data", f"{missing}.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    done = batch(folder, "--output", "out", *option)
    assert done.exit_code == 2
    assert f"batch_needs_{code}" in done.stderr
    assert "pip install" in done.stderr
    if missing == "pyarrow":
        assert batch(folder, "--output", "out", "--jsonl").exit_code == 1
        (part,) = (folder.parent / "out").glob("part-*")
        assert len([json.loads(line) for line in part.read_text("utf-8").splitlines()]) == 2


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with Count(Numbers(10)) as count:
        pass
    count.total = 10
    with Report(Console(stderr=True), "en", count, lambda: now[0]) as report:
        for second in range(1, 41):
            now[0] = float(second)
            report.tell(Tally(known=1, done=3, failed=1, seconds=40.0))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[-1].startswith("5 recordings, 1 of them failed")
    assert lines[-1].endswith("; 5 left, about 0:00:38")


def test_the_documents_list_every_column_and_option() -> None:
    from pathlib import Path

    from emotape.delivery.offline.rows import Asked

    asked: list[Any] = [Asked(granularity, embedding=True, quality=True) for granularity in ("segment", "frame")]
    columns = {name for each in asked for name in each.fields()} | {"frames"}
    for page in ("batch.md", "batch.zh.md"):
        text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
        assert [name for name in columns if f"`{name}`" not in text] == []

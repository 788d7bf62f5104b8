"""Benchmarks at work, in small: real decoding, real requests, real processes. No figure is judged."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from emotape.audio.decode import decode
from emotape.delivery.bench import decode as decoding
from emotape.delivery.bench import fresh, memory, speech
from emotape.delivery.bench import throughput as asking
from emotape.delivery.bench.recordings import FORMATS, recording
from emotape.delivery.bench.subject import Choice
from emotape.delivery.cli import app
from emotape.delivery.cli.bench_lists import arithmetics, names, numbers, whole
from emotape.errors import BadRequest, EngineFault
from emotape.store.catalogue import bundled_model

if TYPE_CHECKING:
    from collections.abc import Callable

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def silent(_: str) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_what_its_name_says_and_as_long_as_asked(name: str) -> None:
    found = decode(recording(name, 1.0))
    _, codec, rate, channels = FORMATS[name]
    assert (found.source.sample_rate, found.source.channels) == (rate, channels)
    assert codec.removeprefix("lib")[:3] in {found.source.codec[:3], "mp3", "ope"}
    assert found.waveforms[0].seconds == pytest.approx(1.0, abs=0.1)
    assert not found.warnings


def test_decoding_is_timed_for_every_format_and_side() -> None:
    options = decoding.DecodeOptions(("wav", "opus"), seconds=0.5, against=(), runs=2)
    found = decoding.measure(options, silent)
    assert [row["file"] for row in found.tables[0].rows] == ["wav, 44.1 kHz stereo", "opus, 48 kHz stereo"]
    for sample in found.samples:
        assert sample["side"] == "emotape"
        assert len(sample["took"]) == 2  # type: ignore[arg-type]
        assert sample["samples"] == pytest.approx(8000, abs=400)


def test_a_peer_that_is_not_there_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = decoding.measure(decoding.DecodeOptions(("wav",), 0.5, ("ffmpeg",), 1), silent)
    assert found.notes == ("ffmpeg is not on this machine: it was left out",)
    assert "ffmpeg" not in found.tables[0].rows[0]


@pytest.mark.parametrize("options", [decoding.DecodeOptions(("doc",)), decoding.DecodeOptions(against=("sox",))])
def test_what_nobody_knows_is_refused(options: decoding.DecodeOptions) -> None:
    with pytest.raises(BadRequest, match="bench_unknown"):
        decoding.measure(options, silent)


@pytest.fixture(scope="module")
def throughput() -> Any:
    options = asking.ThroughputOptions(
        Choice(bundled_model().path), clients=(1, 3), requests=4, runs=2, threads=1, longest=1.5, soak=6
    )
    return asking.measure(options, silent)


def test_every_request_of_every_client_is_answered(throughput: Any) -> None:
    one, three = throughput.tables[0].rows
    assert (one["clients"], three["clients"]) == (1, 3)
    assert one["× fewest clients"].median == 1
    for sample in throughput.samples[:2]:
        assert [len(answers) for answers in sample["answers"]] == [4, 4]


@pytest.mark.skipif(memory.resident_bytes() is None, reason="memory is read from /proc")
def test_a_soak_follows_the_memory_to_its_last_request(throughput: Any) -> None:
    assert throughput.tables[1].rows[0]["requests"] == 6
    assert throughput.samples[-1]["soak"][-1][0] == 6


def test_flatness_compares_the_end_with_the_settled_level() -> None:
    points = [(100, 500_000_000), (200, 800_000_000), (300, 900_000_000), (400, 840_000_000)]
    found = asking.flatness(points)
    assert found["change %"] == pytest.approx(5.0)
    assert found["most MB"] == 900.0


def test_clips_are_the_same_each_time_and_differ_from_round_to_round() -> None:
    first, again, second = speech.clip(1.0, 1), speech.clip(1.0, 1), speech.clip(1.0, 2)
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, second.samples)
    lengths = [clip.seconds for clip in speech.mixed_clips(50, 1.0, 4.0)]
    assert min(lengths) >= 0.99
    assert max(lengths) <= 4.01
    assert lengths == [clip.seconds for clip in speech.mixed_clips(50, 1.0, 4.0)]


@pytest.mark.slow
def test_a_fresh_process_tells_of_its_first_and_later_answers(tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(recording("wav", 1.0))
    asked = {"directory": bundled_model().path, "dtype": "auto", "threads": 1, "recording": path, "requests": 2}
    found = fresh.play("emotape_requests", **asked)
    assert len(found["later"]) == 2
    assert found["first"] > max(found["later"])  # it holds the start of the interpreter
    loaded = fresh.play("emotape_load", **asked)
    assert loaded["from_start"] > loaded["import"] + loaded["load"] + loaded["answer"]


def test_a_process_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineFault, match="No module named 'emotape_that_is_not_there'") as caught:
        fresh.import_seconds("emotape_that_is_not_there")
    assert caught.value.code == "bench_process"
    assert fresh.import_seconds("json") > 0


@pytest.mark.parametrize(
    ("read", "value"), [(numbers, "3,x"), (numbers, "0"), (numbers, "inf"), (whole, "1.5"), (names, " , ")]
)
def test_lists_that_make_no_sense_are_refused(read: Callable[[str, str], object], value: str) -> None:
    with pytest.raises(BadRequest, match="bench_list"):
        read("--option", value)


def test_an_arithmetic_that_the_engine_does_not_know_is_refused() -> None:
    with pytest.raises(BadRequest, match="bench_unknown"):
        arithmetics("float32,float4")
    assert arithmetics("auto,bfloat16") == ("auto", "bfloat16")


def test_lists_are_read() -> None:
    assert numbers("--seconds", "3, 10.5") == (3.0, 10.5)
    assert whole("--threads", "1,2") == (1, 2)
    assert names("--dtype", "float32, int8,float32") == ("float32", "int8")


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    path = tmp_path / "decode.json"
    words = f"bench decode --formats flac --seconds 0.5 --against ffmpeg --runs 1 --output {path}"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    assert "| flac, 44.1 kHz stereo |" in done.stdout
    assert path.is_file()
    assert path.with_suffix(".png").is_file()


def test_a_model_and_random_weights_exclude_each_other() -> None:
    done = CliRunner().invoke(app, ["bench", "load", "--model", "bundled", "--random", "large", "--language", "en"])
    assert done.exit_code == 2
    assert "[bench_both_models]" in done.stderr


def commands() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    found: dict[str, Any] = root.commands["bench"].commands
    return found


@pytest.mark.parametrize("name", commands())
def test_every_option_is_documented(name: str) -> None:
    text = BENCHMARKS.read_text("utf-8")
    section = text.split(f"\n## `emotape bench {name}`\n")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| `(--[\w-]+)` \|", section, re.MULTILINE))
    options = {option for param in commands()[name].params for option in param.opts if option.startswith("-")}
    assert told == options - {"--help", "-h"}


def test_every_example_is_understood() -> None:
    examples = re.findall(r"^emotape bench (.+)$", BENCHMARKS.read_text("utf-8"), re.MULTILINE)
    assert len(examples) >= 8
    for example in examples:
        name, *arguments = shlex.split(example)
        commands()[name].make_context("bench", arguments).close()

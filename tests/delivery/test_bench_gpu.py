"""The benchmark of a graphics card, in small and on a processor: every step runs, and no figure is judged."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from emotape.delivery.bench import card, gpu
from emotape.delivery.bench.flops import clip_flops
from emotape.delivery.bench.gpu_runners import GpuOptions, Runners
from emotape.delivery.bench.subject import Choice
from emotape.delivery.cli import app
from emotape.engine.accelerator import AcceleratorRunner
from emotape.errors import BadRequest, EngineFault
from emotape.model.encoder import Encoder
from tests.conftest import GOLDEN
from tests.engine.test_tape import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.engine.runner import Clip, ClipScores

NETWORK = GOLDEN / "large_like"


def test_the_command_measures_everything_on_any_device_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the reference, which is left out and named; all tables are there, and JSON and plot are written."""
    monkeypatch.setattr(gpu, "installed", lambda package: False)
    monkeypatch.setattr(gpu, "_SMALL_MATRIX", 32)
    words = "--device cpu --seconds 0.5,1 --audio 4 --dtype float32,float16 --tape-tokens 256 --runs 2 --language en"
    path = tmp_path / "gpu.json"
    done = CliRunner().invoke(app, ["bench", "gpu", *words.split(), "--model", str(NETWORK), "--output", str(path)])
    assert done.exit_code == 0, done.output
    for heading in ("Memory on the device", "One clip at a time", "clips of mixed lengths", "Steps of one tape"):
        assert heading in done.stdout
    assert "the reference was left out" in done.stdout
    record = json.loads(path.read_text("utf-8"))
    assert record["settings"]["bf16 TFLOP/s"] > 0
    rows = record["tables"][2]["rows"]
    ways = ("requests", "packed tapes")
    assert [row["side"] for row in rows] == [f"{dtype}, {way}" for dtype in ("float32", "float16") for way in ways]
    assert all(row["same label %"] == 100 for row in rows)
    assert rows[0]["error"] == 0
    assert 0 < rows[2]["error"] < 0.01
    assert path.with_suffix(".png").is_file()


@pytest.mark.peer
def test_the_reference_runs_in_fp32_and_halved() -> None:
    """On its own clips and in turns with ours: the same embeddings, to rounding."""
    options = GpuOptions(Choice(NETWORK), "cpu", (0.5,), 2.0, ("float32",), 256, runs=1)
    found = gpu.measure(options, lambda _: None)
    rows = {row["side"]: row for row in found.tables[1].rows}
    assert set(gpu.PEERS) < set(rows)
    error: Any = rows["emotape float32"]["error"]
    assert error <= 1e-4


def test_a_reference_that_fails_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own figures do not depend on another package."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ModuleNotFoundError("No module named 'distutils'")

    monkeypatch.setattr(gpu, "installed", lambda package: True)
    monkeypatch.setattr(gpu, "CardReference", broken)
    monkeypatch.setattr(gpu, "_SMALL_MATRIX", 32)
    options = GpuOptions(Choice(NETWORK), "cpu", (0.5,), 2.0, ("float32",), 256, runs=1)
    found = gpu.measure(options, lambda _: None)
    assert [row["side"] for row in found.tables[1].rows] == ["emotape float32", "emotape float32, not recorded"]
    assert sum("No module named 'distutils'" in note for note in found.notes) == len(gpu.PEERS)


def test_without_a_card_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And names what can be done; a named device that is not there is another error."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(app, ["bench", "gpu", "--language", "en"])
    assert done.exit_code == 2
    assert "[bench_no_card]" in done.stderr
    with pytest.raises(EngineFault, match="device_unavailable"):
        gpu.measure(GpuOptions(device="cuda:99"), lambda _: None)


def test_arithmetics_that_no_card_has_are_refused() -> None:
    with pytest.raises(BadRequest, match="bench_unknown"):
        gpu.measure(GpuOptions(device="cpu", arithmetics=("int8",)), lambda _: None)


def test_an_arithmetic_that_makes_no_numbers_is_left_out_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A NaN has no error to show and is as fast as any number."""
    exact = AcceleratorRunner.run

    def broken(runner: AcceleratorRunner, clips: Sequence[Clip]) -> list[ClipScores]:
        found = exact(runner, clips)
        wrong = runner.arithmetic == "float16"
        return [replace(scores, embedding=scores.embedding * np.nan) if wrong else scores for scores in found]

    monkeypatch.setattr(AcceleratorRunner, "run", broken)
    runners = Runners(NETWORK, GpuOptions(device="cpu", audio=2.0, arithmetics=("float32", "float16"), tape_tokens=256))
    with ExitStack() as stack:
        assert not runners.ways(stack, "float16", runners.clips(2.0))
        assert runners.ways(stack, "float32", runners.clips(2.0))
    assert "not_finite" in runners.refused["float16"]


def test_an_arithmetic_that_the_device_cannot_do_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As 8 bits on a card of before: torch says so when it first multiplies, and the other figures still come."""

    def old(*_: Any, **__: Any) -> Any:
        raise RuntimeError("torch._scaled_mm is only supported on newer cards")

    monkeypatch.setattr(torch, "_scaled_mm", old)
    monkeypatch.setattr(gpu, "installed", lambda package: False)
    monkeypatch.setattr(gpu, "_SMALL_MATRIX", 32)
    options = GpuOptions(Choice(NETWORK), "cpu", (0.5,), 2.0, ("float32", "float8"), 256, runs=1)
    found = gpu.measure(options, lambda _: None)
    assert any("float8 was left out: RuntimeError" in note for note in found.notes)
    assert len(found.tables[2].rows) == 2


def test_operations_are_counted_as_torch_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products of one clip through the network, as torch's own counter sees them."""
    from torch.utils.flop_counter import FlopCounterMode

    from emotape.model.attention import ClipAttention
    from emotape.model.encoder import TapeTensors

    frames = 40
    samples = OFFICIAL.stride * (frames - 1) + OFFICIAL.field
    tokens = torch.arange(frames + OFFICIAL.extra_tokens)
    with torch.device("meta"):
        encoder, tape = Encoder(OFFICIAL), TapeTensors(torch.empty(samples), torch.empty(frames), tokens)
    monkeypatch.setattr(encoder, "head_slopes", lambda: torch.ones(OFFICIAL.heads))  # the only values that matter
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        encoder(tape, lambda slopes: ClipAttention([len(tokens)], OFFICIAL.extra_tokens, slopes))
    assert clip_flops(samples, OFFICIAL) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_ten_seconds_are_some_220_gigaflop() -> None:
    """What docs/performance.md says of the official size."""
    assert clip_flops(160_000, OFFICIAL) / 10 == pytest.approx(22e9, rel=0.05)


def test_packing_loses_no_clip_and_keeps_to_the_tape() -> None:
    options = GpuOptions(Choice(NETWORK), "cpu", tape_tokens=512)
    runners = Runners(NETWORK, options)
    clips = runners.clips(40.0)
    tapes = runners.tapes(clips, 512)
    assert [clip for tape in tapes for clip in tape] == clips
    tokens = [[runners.dims.frames(len(clip.waveform)) + 10 for clip in tape] for tape in tapes]
    assert all(sum(tape) <= 512 or len(tape) == 1 for tape in tokens)
    assert 40.0 <= sum(clip.waveform.seconds for clip in clips) <= 55.0


def test_what_only_a_card_knows_is_left_open() -> None:
    """No figure is invented for a processor."""
    with card.watched_memory("cpu") as memory, card.watched_use("cpu") as use:
        pass
    assert (memory.allocated, memory.reserved, use.mean) == (None, None, None)
    assert use.reason
    assert card.describe("cpu") == {"device": "cpu", "card": None}

"""Tapes of fixed sizes: whatever lies beside a clip, and whatever is left of the tape, it gets what it gets alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotape import EngineOptions, Recognizer, RecognizerOptions
from emotape.audio.waveform import Waveform
from emotape.engine import device, loading, machine, resident
from emotape.engine.accelerator import AcceleratorOptions, AcceleratorRunner, options_for
from emotape.engine.card import SMALLEST_TAPE
from emotape.engine.collation import fill, fits
from emotape.engine.control.release import return_memory
from emotape.engine.device import CudaDevice, DirectDevice
from emotape.engine.parity import BOUND, Verdict, compare
from emotape.engine.plan import Accelerator
from emotape.engine.runner import Clip, ClipScores, TorchRunner
from emotape.engine.scheduler import Scheduler
from emotape.engine.tape import collate, lay
from emotape.errors import BadRequest, EngineFault
from emotape.events import DeviceFailed, DeviceRefused, Event, MemoryShort, NotCompiled, PrecisionRefused
from emotape.model.dims import read_dims
from emotape.model.encoder import Encoder
from emotape.model.fixed_tape import FixedTape, TapeShape, normalized_wave, sizes_up_to
from emotape.model.weights import LoadedModel, load
from emotape.store.catalogue import bundled_model
from tests.conftest import AUDIO, GOLDEN
from tests.engine.test_tape import OFFICIAL
from tests.golden.layout import config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

EAGER = AcceleratorOptions((128, 256, 512), compiled=False, recorded=False, attention="clips", block=64, piece=100)
ONE_SIZE = AcceleratorOptions((1_024,), compiled=False, recorded=False, attention="clips", block=64, lanes=1)
lengths = st.lists(st.integers(400, 40_000), min_size=1, max_size=6)


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave the environment as it was."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


@cache
def alone(network: str) -> TorchRunner:
    return TorchRunner(load(GOLDEN / network))


@cache
def fixed(network: str, sizes: tuple[int, ...] = EAGER.sizes) -> AcceleratorRunner:
    options = AcceleratorOptions(sizes, compiled=False, recorded=False, attention="clips", block=64, piece=100)
    runner = AcceleratorRunner(load(GOLDEN / network), "cpu", "float32", options)
    runner.warm_up()
    return runner


def assert_same(found: ClipScores, wanted: ClipScores, bound: float = 1e-5) -> None:
    """Scores within `bound`; a single frame of these random networks can magnify rounding a little more."""
    for name, most in (
        ("embedding", bound),
        ("logits", bound),
        ("frame_logits", 5 * bound),
        ("frame_embeddings", 5 * bound),
    ):
        one, other = getattr(found, name), getattr(wanted, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            assert one.dtype == np.float32
            assert np.abs(one - other).max() <= most * np.abs(other).max()


def clips_of(noise: Waveform, samples: Sequence[int], *, frame_embeddings: bool = True) -> list[Clip]:
    return [Clip(noise.part(start, start + count), frame_embeddings) for start, count in enumerate(samples)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths, st.sampled_from([(128, 256, 512), (1_024,), (64, 128)]))
@pytest.mark.parametrize("network", ["large_like", "base_like"])
def test_any_mix_on_any_fixed_size_equals_the_clips_alone(
    network: str, noise: Waveform, samples: list[int], sizes: tuple[int, ...]
) -> None:
    """Too long for every size, far too short for the smallest, or just so."""
    clips = clips_of(noise, samples)
    for clip, found in zip(clips, fixed(network, sizes).run(clips), strict=True):
        assert_same(found, alone(network).run([clip])[0])


def test_a_model_without_a_head_gives_embeddings(noise: Waveform) -> None:
    for samples in ([9_000, 12_000], [60_000, 50_000, 60_000]):
        clips = clips_of(noise, samples)
        for clip, found in zip(clips, fixed("embedding_only").run(clips), strict=True):
            assert_same(found, alone("embedding_only").run([clip])[0], bound=2e-5)


def test_what_lay_on_a_tape_before_is_gone(noise: Waveform) -> None:
    """A full tape of noise that is no number, then one short clip in the same memory: to the last bit as if first."""
    runner = fixed("large_like", (1_024,))
    clip = Clip(noise.part(0, 5_000), frame_embeddings=True)
    first = runner.run([clip])[0]
    broken = Waveform(np.full(200_000, np.nan, np.float32))
    for _ in range(runner.lanes):
        runner.run([Clip(broken)])
    assert_same(runner.run([clip])[0], first, bound=0)


def test_answers_stay_as_they_are_when_the_next_tape_comes(noise: Waveform) -> None:
    """They do not lie in the memory that the next tape's are copied to."""
    runner = fixed("large_like", (256,))
    clip = Clip(noise.part(0, 30_000), frame_embeddings=True)
    found, wanted = runner.run([clip])[0], alone("large_like").run([clip])[0]
    for _ in range(3):
        runner.run([Clip(noise.part(20_000, 60_000))])
    assert_same(found, wanted)


def test_frames_are_embedded_for_those_who_asked(noise: Waveform) -> None:
    clips = [Clip(noise.part(0, 8_000)), Clip(noise.part(0, 8_000), frame_embeddings=True)]
    plain, full = fixed("large_like").run(clips)
    assert plain.frame_embeddings is None
    assert full.frame_embeddings is not None


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """What torch traces, which it then leaves as it is instead of compiling it; it knows nothing of earlier tests."""
    found: list[torch.fx.GraphModule] = []
    compiled = torch.compile

    def trace(graph: torch.fx.GraphModule, _: Any) -> Any:
        found.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", lambda step, **options: compiled(step, backend=trace, **options))
    torch.compiler.reset()
    return found


def test_compiled_steps_are_the_same_steps_and_are_compiled_once_for_all_blocks(
    noise: Waveform, traced: list[torch.fx.GraphModule]
) -> None:
    """As on a card, but for the compiling: one trace for each step and size."""
    options = AcceleratorOptions((256, 512), recorded=False, block=64, piece=256)
    runner = AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", options)
    runner.warm_up()
    steps = len(traced)
    clips = clips_of(noise, [16_000, 400, 30_000, 9_000])
    for clip, found in zip(clips, runner.run(clips), strict=True):
        assert_same(found, alone("large_like").run([clip])[0])
    assert steps == 7  # 2 × samples, positions and block; the extractor's piece of 256 frames serves both sizes
    assert len(traced) == steps, "a warm runner compiles nothing"


def test_whichever_thread_warms_up_may_compile_every_size(traced: list[torch.fx.GraphModule]) -> None:
    """Torch stops compiling after a few forms, and keeps that number for each thread: the warmer's is what counts."""
    sizes = tuple(64 * count for count in range(1, 11))
    options = AcceleratorOptions(sizes, recorded=False, block=64, piece=64)
    runner = AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", options)
    with ThreadPoolExecutor(1) as other:
        other.submit(runner.warm_up).result()
    assert len(traced) == 3 * len(sizes) + 1  # the extractor's piece of 64 frames serves all sizes


def test_where_nothing_can_be_compiled_the_network_runs_all_the_same(
    noise: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without Triton or a C compiler: slower, exact, and said."""

    def impossible(step: Any, **_: Any) -> Any:
        def fail(*_: Any) -> Any:
            raise RuntimeError("Failed to find C compiler.\nPlease specify one")

        return fail

    monkeypatch.setattr(torch, "compile", impossible)
    runner = AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", AcceleratorOptions((128,), block=64))
    clip = Clip(noise.part(0, 9_000), frame_embeddings=True)
    assert_same(runner.run([clip])[0], alone("large_like").run([clip])[0])
    assert runner.not_compiled == "RuntimeError: Failed to find C compiler."
    plain = fixed("large_like")
    plain.run([clip])
    assert plain.not_compiled is None


def test_a_recognizer_says_that_its_card_is_not_compiled_for(card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wonders why it is slow finds the reason among the facts."""
    monkeypatch.setattr(torch, "compile", lambda step, **_: lambda *arguments: 1 / 0)
    compiled = AcceleratorOptions((1_024,), block=64)
    monkeypatch.setattr(loading, "options_for", lambda device, tape_tokens: compiled)
    events: list[Event] = []
    with Recognizer(options=RecognizerOptions(engine=EngineOptions(device=card)), observer=events.append) as made:
        assert made.recognize(AUDIO / "thorsten_neutral.wav").emotion
    assert NotCompiled(card, "ZeroDivisionError: division by zero") in events


def test_compiled_things_are_kept_where_the_user_says_or_in_their_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch, "compile", lambda step, **_: step)
    options = AcceleratorOptions((64,), recorded=False, block=64)
    AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", EAGER)
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", options)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "emotape" / "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", options)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"


def test_where_the_cache_cannot_be_written_torch_keeps_compiled_things_in_its_own_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container whose root is read-only would otherwise compile nothing at all."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(torch, "compile", lambda step, **_: step)
    options = AcceleratorOptions((64,), recorded=False, block=64)
    AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", options)
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "float16", "float8"])
def test_the_arithmetics_of_cards_agree_on_the_bundled_weights(arithmetic: Any) -> None:
    """Trained weights, recorded speech: each passes the parity gate."""
    path = bundled_model().path
    options = AcceleratorOptions((1_024,), compiled=False, recorded=False, attention="clips")
    verdict = compare(AcceleratorRunner(load(path, None), "cpu", arithmetic, options), TorchRunner(load(path)))
    assert verdict.agrees, verdict


@pytest.mark.parametrize(("arithmetic", "bound"), [("float16", 5e-3), ("bfloat16", 3e-2), ("float8", 2e-1)])
def test_reduced_arithmetics_are_the_same_network(
    tmp_path: Path, noise: Waveform, arithmetic: Any, bound: float
) -> None:
    """Random weights, wide enough for products in 8 bits; the head stays exact."""
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(config(embed_dim=128, heads=4, prenet=1, depth=2, channels=64))
    )
    dims = read_dims(tmp_path / "config.yaml", classes=9)

    def model() -> LoadedModel:
        torch.manual_seed(11)
        return LoadedModel(Encoder(dims).eval().requires_grad_(requires_grad=False), (), "random weights")

    clip = Clip(noise.part(0, 40_000), frame_embeddings=True)
    wanted = TorchRunner(model()).run([clip])[0]
    runner = AcceleratorRunner(model(), "cpu", arithmetic, EAGER)
    found = runner.run([clip])[0]
    assert found.embedding.dtype == np.float32
    assert np.linalg.norm(found.embedding - wanted.embedding) <= bound * np.linalg.norm(wanted.embedding)


official = st.lists(st.integers(400, 60_000), min_size=1, max_size=8)


@settings(deadline=None)
@given(official, st.integers(0, 3))
def test_a_fixed_tape_says_what_a_plain_one_says(samples: list[int], rest: int) -> None:
    """Which frames are kept, which frame each token is, and whose it is; and no clip's samples are another's."""
    layout = lay(samples, OFFICIAL)
    shape = TapeShape(64 * (-(-layout.tokens // 64) + rest), OFFICIAL, 64)
    assert fits(layout, shape)
    random = np.random.default_rng(len(samples))
    clips = [Waveform((3 + random.standard_normal(count)).astype(np.float32)) for count in samples]
    tape, plain = FixedTape(shape), collate(clips, layout, OFFICIAL)
    tape.numbers.fill_(77)
    tape.wave.fill_(float("nan"))
    fill(tape, clips, layout)
    assert torch.equal(tape.tokens[: layout.tokens], plain.tokens.int())
    assert torch.equal(tape.keep[: layout.frames], plain.keep.int())
    assert not tape.keep[layout.frames :].any()
    owners = np.repeat(np.arange(len(samples)), [place.tokens for place in layout.places])
    found = tape.token_clips[: layout.tokens].numpy()
    assert (found[found < shape.clips] == owners[found < shape.clips]).all()
    assert np.bincount(found, minlength=shape.clips)[: len(samples)].tolist() == [p.frames for p in layout.places]
    wave = normalized_wave(tape).flatten()
    torch.testing.assert_close(wave[: layout.samples], plain.wave, rtol=1e-4, atol=2e-5)
    assert torch.isfinite(wave).all()


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=40), st.integers(1, 16))
def test_so_many_tokens_always_have_room(frames: list[int], blocks: int) -> None:
    """Whatever clips make them: room in tokens is room in frames, samples and clips, too."""
    shape = TapeShape(128 * blocks, OFFICIAL, 128)
    layout = lay([(count - 1) * 320 + 400 + 319 for count in frames], OFFICIAL)
    assert fits(layout, shape) == (layout.tokens <= shape.tokens)


def test_sizes_double_up_to_what_is_asked_for() -> None:
    assert sizes_up_to(1, 256) == (256,)
    assert sizes_up_to(1_620, 256) == (256, 512, 1_024, 2_048)
    assert options_for("cuda:0", 16_384).sizes[-1] == 16_384
    assert options_for("mps", SMALLEST_TAPE).compiled is False


def test_the_scheduler_feeds_both_lanes_and_every_request_gets_its_one_answer(noise: Waveform) -> None:
    """Two threads lay tapes for one device: sixteen callers get the scores of their own clips."""
    runner = AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", EAGER)
    made = Scheduler([runner] * runner.lanes, tape_tokens=300, queue_seconds=1e6)
    clips = [Clip(noise.part(start, start + 3_000 + 70 * start)) for start in range(60)]
    with ThreadPoolExecutor(16) as callers:
        reports = list(callers.map(lambda clip: made.submit([clip]).result(timeout=60), clips))
    made.close()
    for clip, report in zip(clips, reports, strict=True):
        (found,) = report.scores
        assert_same(found, alone("large_like").run([Clip(clip.waveform)])[0])


class Faulty(DirectDevice):
    """A device without room for a tape whose first sample says so."""

    def launch(self, upload: Any, work: Any, download: Any) -> Any:
        upload()
        return super().launch(lambda: None, lambda: self._unless_full(work), download)

    def _unless_full(self, work: Callable[[], None]) -> None:
        self.runs = getattr(self, "runs", 0) + 1
        if self.runs % 3 == 0:
            raise torch.OutOfMemoryError("injected: no room")
        work()


def test_a_device_that_fails_now_and_then_loses_no_lane_and_no_request(noise: Waveform) -> None:
    """The lane of a failed tape is free for the next one."""
    runner = AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", EAGER, Faulty())
    made = Scheduler([runner] * runner.lanes, tape_tokens=200, queue_seconds=1e6, fallback=lambda: alone("large_like"))
    clips = [Clip(noise.part(start, start + 4_000)) for start in range(30)]
    futures = [made.submit([clip]) for clip in clips]
    for clip, future in zip(clips, futures, strict=True):
        assert_same(future.result(timeout=60).scores[0], alone("large_like").run([clip])[0])
    made.close()
    with pytest.raises(EngineFault):
        made.submit([clips[0]])


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> str:
    """A device that the engine takes for a graphics card with units for 8 bits, and torch for a processor."""
    monkeypatch.setattr(Accelerator, "is_card", property(lambda self: True))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return "cpu:0"


@pytest.mark.parametrize("dtype", ["float32", "float16", "float8"])
def test_a_recognizer_runs_fixed_tapes_on_a_card(card: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real speech and the bundled model, from the outside: the answer of a processor, within the gate's bound."""
    if dtype != "float32":  # which runs with all the sizes that the plan gives
        monkeypatch.setattr(loading, "options_for", lambda device, tape_tokens: ONE_SIZE)
    options = RecognizerOptions(engine=EngineOptions(device=card, dtype=dtype))
    with Recognizer(options=options) as recognizer:
        found = recognizer.recognize(AUDIO / "jfk.flac", granularity="frame", embedding=True)
    with Recognizer(options=RecognizerOptions(engine=EngineOptions(device="cpu", dtype="float32"))) as recognizer:
        wanted = recognizer.recognize(AUDIO / "jfk.flac", granularity="frame", embedding=True)
    assert (found.provenance.device, found.provenance.dtype) == (card, dtype)
    assert found.emotion == wanted.emotion
    assert found.embedding is not None
    assert wanted.embedding is not None
    assert found.embedding.shape == wanted.embedding.shape
    for key, value in wanted.scores.items():
        assert abs(found.scores[key] - value) <= (1e-5 if dtype == "float32" else BOUND)


def test_what_strays_in_8_bits_falls_back_to_halves_and_then_to_fp32(
    card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each refusal is stated; every request is answered all the same."""
    monkeypatch.setattr(loading, "options_for", lambda device, tape_tokens: ONE_SIZE)
    monkeypatch.setattr(loading, "recall", lambda notes, key: None)
    monkeypatch.setattr(loading, "remember", lambda notes, key, verdict: None)
    for refused, left in ((["float8"], "float16"), (["float8", "float16"], "float32")):
        judge = Judge(refused)
        monkeypatch.setattr(loading, "compare", judge)
        events: list[Event] = []
        options = RecognizerOptions(engine=EngineOptions(device=card, dtype="float8"))
        with Recognizer(options=options, observer=events.append) as recognizer:
            assert recognizer.recognize(AUDIO / "thorsten_neutral.wav").provenance.dtype == left
        assert [event.dtype for event in events if isinstance(event, PrecisionRefused)] == refused


def test_a_card_that_calculates_wrongly_leaves_the_work_to_the_processor(
    card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32, too, a card is held to the processor; one that the user named is an error instead."""
    monkeypatch.setattr(loading, "options_for", lambda device, tape_tokens: ONE_SIZE)
    monkeypatch.setattr(loading, "recall", lambda notes, key: None)
    monkeypatch.setattr(loading, "remember", lambda notes, key, verdict: None)
    monkeypatch.setattr(loading, "compare", lambda found, exact: Verdict(float("inf"), same_labels=False))
    monkeypatch.setattr(resident, "_accelerators", lambda device: (Accelerator(card),))
    events: list[Event] = []
    with Recognizer(observer=events.append) as recognizer:
        assert recognizer.recognize(AUDIO / "thorsten_neutral.wav").provenance.device == "cpu"
    assert DeviceRefused(card, float("inf")) in events
    with pytest.raises(EngineFault) as refused:
        Recognizer(options=RecognizerOptions(engine=EngineOptions(device=card))).open()
    assert refused.value.code == "device_disagrees"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_kernels_that_give_no_numbers_give_way_to_torchs_own(
    card: str, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card keeps the work, slower; every card does, and it is said why."""
    notes: dict[str, Verdict] = {}
    monkeypatch.setattr(loading, "options_for", lambda device, tape_tokens: replace(ONE_SIZE, compiled=True))
    monkeypatch.setattr(loading, "recall", lambda path, key: notes.get(key))
    monkeypatch.setattr(loading, "remember", lambda path, key, verdict: notes.update({key: verdict}))
    monkeypatch.setattr(resident, "_accelerators", lambda device: (Accelerator(card), Accelerator(card)))
    monkeypatch.setattr(torch, "compile", lambda step, **options: lambda *parts: _no_numbers(step(*parts)))
    arithmetic = resident.make_plan

    def planned(options: EngineOptions, *rest: Any) -> Any:
        return replace(arithmetic(options, *rest), arithmetic=dtype)

    monkeypatch.setattr(resident, "make_plan", planned)
    for _ in range(2):  # judged, and remembered
        events: list[Event] = []
        with Recognizer(observer=events.append) as recognizer:
            found = recognizer.recognize(AUDIO / "thorsten_neutral.wav")
        assert found.provenance.device == f"{card},{card}"
        assert found.provenance.dtype == dtype
        assert 0 < found.confidence < 1
        assert [type(event) for event in events][:2] == [NotCompiled, NotCompiled]
    assert [verdict.agrees for verdict in notes.values()] == [False, True]


def _no_numbers(made: Any) -> Any:
    parts = made if isinstance(made, tuple) else (made,)
    spoiled = tuple(part * torch.nan for part in parts)
    return spoiled if isinstance(made, tuple) else spoiled[0]


class Judge:
    """Refuses some arithmetics."""

    def __init__(self, refused: list[str]) -> None:
        self.refused = refused

    def __call__(self, reduced: AcceleratorRunner, exact: TorchRunner) -> Verdict:
        return Verdict(0.1, same_labels=False) if reduced.arithmetic in self.refused else compare(reduced, exact)


@pytest.mark.parametrize(("device", "offload"), [("cpu", 0), ("cpu:0", 0), ("card", 1)])
def test_8_bits_without_units_for_them_are_refused(card: str, device: str, offload: int, monkeypatch: Any) -> None:
    """On a processor, on a card of before, or beside weights that are brought."""
    if device != "card":
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    chosen = EngineOptions(device=card if device == "card" else device, dtype="float8", offload=offload)
    with pytest.raises(BadRequest, match="float8_needs_card"):
        Recognizer(options=RecognizerOptions(engine=chosen)).open()


def test_cards_that_this_torch_has_no_kernels_for_are_left_out_unless_they_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch counts a card of 2016, and refuses only when something runs there; the processor is what is left."""
    ones = torch.ones

    def launched(*shape: int, device: str) -> torch.Tensor:
        if device == "cuda:0":
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCUDA kernel ...")
        return ones(*shape)

    monkeypatch.setattr(torch, "ones", launched)
    monkeypatch.setattr(machine, "_described", lambda name: Accelerator(name, 10, 10))
    for count, wanted in ((0, []), (1, []), (2, ["cuda:1"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [card.name for card in machine.accelerators("auto")] == wanted
    with pytest.raises(EngineFault, match="no kernel image is available") as refused:
        machine.accelerators("cuda:0")
    assert refused.value.code == "device_unavailable"


class CardOnPaper:
    """What torch.cuda offers, done at once and in order."""

    def __init__(self) -> None:
        self.graphs: list[CardOnPaper.CUDAGraph] = []

    class Stream:
        def __init__(self, device: str) -> None:
            self.device = device

        def wait_stream(self, other: Any) -> None: ...

        def wait_event(self, event: Any) -> None:
            assert event.recorded

        def synchronize(self) -> None: ...

    class Event:
        recorded = False

        def record(self, stream: Any) -> None:
            assert stream.device == "cuda:1"
            self.recorded = True

        def synchronize(self) -> None:
            assert self.recorded

    class CUDAGraph:
        work: Callable[[], None]

        def replay(self) -> None:
            self.work()

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        assert stream.device == "cuda:1"
        yield

    @contextmanager
    def device(self, name: str) -> Iterator[None]:
        assert name == "cuda:1"
        yield

    @contextmanager
    def graph(self, graph: CUDAGraph, *, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert (pool, stream.device, capture_error_mode) == ("pool", "cuda:1", "thread_local")
        self.graphs.append(graph)
        yield

    def current_stream(self, name: str) -> Stream:
        return self.Stream(name)

    def graph_pool_handle(self) -> str:
        return "pool"


def test_a_card_gets_its_memory_back_when_a_model_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch keeps what is freed: other programs could not use it, and the next plan would take the card for full."""
    emptied: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("card"))
    return_memory()
    assert emptied == ["card"]


def test_two_networks_are_never_prepared_at_once() -> None:
    """Whoever begins to record waits for the whole card first, which CUDA refuses while another thread records."""
    alone: list[bool] = []

    def work() -> None:
        alone.append(not device._PREPARING.acquire(blocking=False))

    CudaDevice("cuda:1", cuda=CardOnPaper()).prepare([work])
    assert alone
    assert all(alone)
    assert not device._PREPARING.locked()


@pytest.mark.parametrize("records", [True, False])
def test_a_card_is_warmed_recorded_and_then_only_repeats(records: bool) -> None:
    """Upload before work before download; work is done twice to be warm, once to be recorded, and then repeated."""
    card, done = CardOnPaper(), list[str]()
    device = CudaDevice("cuda:1", records=records, cuda=card)
    assert device.pins
    (again,) = device.prepare([lambda: done.append("work")])
    assert done == ["work"] * (3 if records else 2)
    assert len(card.graphs) == records
    for graph in card.graphs:
        graph.work = lambda: done.append("repeated")
    done.clear()
    device.launch(lambda: done.append("upload"), again, lambda: done.append("download"))()
    assert done == ["upload", "repeated" if records else "work", "download"]


class Recording(CardOnPaper):
    """A card that says when it records, and, as torch does, leaves its stream set where that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.now = "default"

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.now = self.now, stream.device
        try:
            yield
        finally:
            self.now = before

    @contextmanager
    def graph(self, graph: CardOnPaper.CUDAGraph, *, stream: Any, **_: Any) -> Iterator[None]:
        self.said.append("recording")
        self.graphs.append(graph)
        before, self.now = self.now, stream.device
        yield
        self.now = before


def test_every_size_is_warm_before_the_first_is_recorded() -> None:
    """Beginning to record gives back what was taken to be warm: no longer if a recording is there already."""
    card = Recording()
    works = [lambda: card.said.append("long"), lambda: card.said.append("short")]
    CudaDevice("cuda:1", cuda=card).prepare(works)
    assert card.said == ["long", "long", "short", "short", "recording", "long", "recording", "short"]


def test_a_recording_that_fails_leaves_the_thread_on_its_stream() -> None:
    """What the network does without recordings afterwards would go to the stream of the broken one."""
    card = Recording()

    def work() -> None:
        if card.said:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaDevice("cuda:1", cuda=card).prepare([work])
    assert card.now == "default"


class Dead(DirectDevice):
    """A device that does nothing any more from its second tape on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.runs = 0

    def launch(self, upload: Any, work: Any, download: Any) -> Any:
        self.runs += 1
        if self.runs > 1:
            raise RuntimeError(self.reason)
        return super().launch(upload, work, download)


@pytest.mark.parametrize(
    "reason",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "Triton Error [CUDA]: out of memory",
    ],
)
def test_when_a_card_fails_for_good_the_processor_answers(noise: Waveform, reason: str) -> None:
    """Such a failure is the card's, not the recording's: whoever waits gets what was asked for."""
    runner = AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", EAGER, Dead(reason))
    told: list[Event] = []
    made = Scheduler(
        [runner] * runner.lanes,
        tape_tokens=200,
        queue_seconds=1e6,
        observer=told.append,
        fallback=lambda: alone("large_like"),
    )
    clips = [Clip(noise.part(start, start + 4_000)) for start in range(12)]
    futures = [made.submit([clip]) for clip in clips]
    for clip, future in zip(clips, futures, strict=True):
        assert_same(future.result(timeout=60).scores[0], alone("large_like").run([clip])[0])
    made.close()
    failed = [event.reason for event in told if isinstance(event, DeviceFailed)]
    assert failed == ([] if any(isinstance(event, MemoryShort) for event in told) else [reason]), "told once"


def test_a_recording_that_breaks_the_network_is_still_its_own_fault(noise: Waveform) -> None:
    """What no driver reports is not tried elsewhere."""
    runner = AcceleratorRunner(load(GOLDEN / "large_like"), "cpu", "float32", EAGER, Dead("shapes do not fit"))
    made = Scheduler([runner], tape_tokens=200, queue_seconds=1e6, fallback=lambda: alone("large_like"))
    made.submit([Clip(noise.part(0, 4_000))]).result(timeout=60)
    with pytest.raises(EngineFault, match="shapes do not fit"):
        made.submit([Clip(noise.part(0, 4_000))]).result(timeout=60)
    made.close()

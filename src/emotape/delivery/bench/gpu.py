"""`emotape bench gpu`: the network on a graphics card, beside the reference and beside what the card can do at best.

All in one run: how fast matrices are multiplied and what that allows; the reference and emotape on one clip at a time;
emotape on many clips of mixed lengths in each arithmetic; memory, equality with fp32, and where the time goes.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.delivery.bench import card, speech
from emotape.delivery.bench.card_reference import CardReference
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.flops import clip_flops
from emotape.delivery.bench.gpu_runners import GpuOptions, Runners, same_labels
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.reference import Heard, installed, relative_error
from emotape.delivery.bench.report import Findings, Table, markdown
from emotape.delivery.bench.subject import Subject, subject
from emotape.engine.card import WINDOW_TAPE
from emotape.errors import BadRequest, EngineFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emotape.audio.waveform import Waveform
    from emotape.delivery.bench.report import Cell
    from emotape.engine.runner import ClipScores

PEERS: Final = {"FunASR float32": False, "FunASR half": True}
EXACT: Final = "float32"
ARITHMETICS: Final = ("float32", "bfloat16", "float16", "float8")
_MATRIX: Final = 8_192
_SMALL_MATRIX: Final = 256


@dataclass
class _Found:
    """What has been measured so far."""

    facts: dict[str, object]
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    samples: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, title: str, rows: Sequence[dict[str, Cell]], tell: Callable[[str], None]) -> None:
        """Keep a table, and show it at once: the whole takes minutes."""
        self.tables.append(Table(title, tuple(rows)))
        tell(f"\n{title}\n\n{markdown(self.tables[-1])}\n")


def measure(options: GpuOptions, tell: Callable[[str], None]) -> Findings:
    """Measure everything.

    Raises BadRequest `bench_no_card` and `bench_unknown`, EngineFault `device_unavailable`, and ModelFault.
    """
    for name in options.arithmetics:
        if name not in ARITHMETICS:
            raise BadRequest("bench_unknown", name=name, known=", ".join(ARITHMETICS))
    options = replace(options, device=_device(options.device))
    with subject(options.choice, official=installed("funasr")) as model:
        runners = Runners(model.directory, options)
        tell(f"matrix peak of {options.device}")
        peak = card.matrix_peak(runners.device, _MATRIX if card.is_card(runners.device) else _SMALL_MATRIX)
        ten = clip_flops(160_000, runners.dims) / 10
        found = _Found(model.facts() | card.describe(runners.device) | _asked(options))
        found.facts |= {"bf16 TFLOP/s": peak / 1e12, "limit, × real time, 10 s clips": peak / ten}
        tell(f"{peak / 1e12:.0f} TFLOP/s in bf16: at most {peak / ten:,.0f} × real time with clips of 10 s")
        _memory(found, runners, tell)
        _one_at_a_time(found, runners, model, tell)
        _many(found, runners, peak, tell)
        _steps(found, runners, tell)
        found.notes += [f"not compiled, and several times slower for it: {reason}" for reason in runners.not_compiled()]
        found.notes += [f"{name} was left out: {reason}" for name, reason in runners.refused.items()]
    return _findings(found)


def _device(named: str | None) -> str:
    import torch

    if named is None and not torch.cuda.is_available():
        raise BadRequest("bench_no_card")
    device = named or "cuda:0"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise EngineFault("device_unavailable", device=device, reason=str(error).splitlines()[0]) from error
    return device


def _asked(options: GpuOptions) -> dict[str, object]:
    return {name: value for name, value in vars(options).items() if name not in ("choice", "device")}


def _memory(found: _Found, runners: Runners, tell: Callable[[str], None]) -> None:
    """Load, warm up and run a full tape at both ends of what the plan may choose; nothing else is on the device yet."""
    arithmetic = runners.options.arithmetics[0]
    rows: list[dict[str, Cell]] = []
    longest = runners.options.tape_tokens
    for name, tokens in (("full speed", longest), ("smallest", min(WINDOW_TAPE, longest))):
        tell(f"memory with tapes of {tokens} tokens, {arithmetic}")
        with card.watched_memory(runners.device) as memory:
            seconds, runner = runners.alone(arithmetic, tokens)
            for clips in runners.tapes(runners.clips(tokens / 25), tokens):
                runner.run(clips)
            del runner
        rows.append(
            {
                "setting": name,
                "tokens": tokens,
                "arithmetic": arithmetic,
                "s to load and warm up": seconds,
                "peak MB in tensors": None if memory.allocated is None else memory.allocated / 1e6,
                "peak MB reserved": None if memory.reserved is None else memory.reserved / 1e6,
            }
        )
    found.add("Memory on the device", rows, tell)


def _one_at_a_time(found: _Found, runners: Runners, model: Subject, tell: Callable[[str], None]) -> None:
    """Time the reference and emotape on one clip after another, in turns."""
    hearers = _hearers(found, runners, model)
    rows: list[dict[str, Cell]] = []
    for seconds in runners.options.seconds:
        tell(f"one clip of {seconds:g} s: {', '.join(hearers)}")
        timed = interleaved([_side(name, hear, seconds) for name, hear in hearers.items()], runners.options.runs)
        rows += [_latency(seconds, name, timed) for name in timed]
        bars = [Bar(f"one clip of {seconds:g} s", name, _times_real(seconds, one)) for name, one in timed.items()]
        found.bars += bars
        found.samples += [{"seconds": seconds, "side": name, "took": one.seconds} for name, one in timed.items()]
    found.add("One clip at a time; error is of the embedding, relative to the first row's", rows, tell)


def _side(name: str, hear: Callable[[Waveform], Heard], seconds: float) -> Side[Heard]:
    return Side(name, lambda number: hear(speech.clip(seconds, number)))


def _hearers(found: _Found, runners: Runners, model: Subject) -> dict[str, Callable[[Waveform], Heard]]:
    hearers: dict[str, Callable[[Waveform], Heard]] = {}
    if model.official is None:
        found.notes.append("funasr is not installed: the reference was left out")
    for name, half in PEERS.items() if model.official else ():
        assert model.official is not None  # noqa: S101 - asked for just above
        try:
            hear = CardReference(model.official, runners.device, half=half).hear
            hear(speech.clip(1.0))
        except Exception as error:  # noqa: BLE001 - whatever fails in another package, our own figures still count
            found.notes.append(f"{name} was left out: {type(error).__name__}: {error}")
        else:
            hearers[name] = hear
    arithmetic = runners.options.arithmetics[0]
    for name, recorded in ((f"emotape {arithmetic}", True), (f"emotape {arithmetic}, not recorded", False)):
        hearers[name] = runners.hearer(arithmetic, recorded=recorded)
    return hearers


def _latency(seconds: float, name: str, timed: dict[str, Timed[Heard]]) -> dict[str, Cell]:
    first, *_ = timed
    one, yardstick = timed[name], timed[first]
    pairs = list(zip(one.answers, yardstick.answers, strict=True))
    return {
        "clip s": seconds,
        "side": name,
        "ms": spread([1000 * taken for taken in one.seconds]),
        "× real time": _times_real(seconds, one),
        f"× {first}": None if name == first else times_faster(yardstick.seconds, one.seconds),
        "error": max(relative_error(mine.embedding, theirs.embedding) for mine, theirs in pairs),
        "same label": f"{sum(mine.emotion == theirs.emotion for mine, theirs in pairs)}/{len(pairs)}",
    }


def _times_real(seconds: float, timed: Timed[Any]) -> Spread:
    return spread([seconds / taken for taken in timed.seconds])


def _many(found: _Found, runners: Runners, peak: float, tell: Callable[[str], None]) -> None:
    """Run the same clips of mixed lengths in each arithmetic, in turns: through the scheduler, and on full tapes."""
    clips = runners.clips(runners.options.audio)
    audio = sum(clip.waveform.seconds for clip in clips)
    limit = peak / (sum(clip_flops(len(clip.waveform), runners.dims) for clip in clips) / audio)
    busy: dict[str, card.Busy] = {}
    with ExitStack() as stack:
        sides = []
        for arithmetic in runners.options.arithmetics:
            for name, work in runners.ways(stack, arithmetic, clips).items():
                sides.append(Side(name, lambda _, name=name, work=work: _watched(work, busy, name, runners.device)))  # type: ignore[misc]
        tell(f"{audio:.0f} s in {len(clips)} clips: {', '.join(side.name for side in sides)}")
        timed = interleaved(sides, runners.options.runs)
    exact = next((one.answers[0] for name, one in timed.items() if name.startswith(EXACT)), None)
    rows = [_throughput(name, one, audio, limit, busy[name], exact) for name, one in timed.items()]
    found.facts |= {"limit, × real time, mixed lengths": limit}
    found.add(f"{audio:.0f} s of audio in {len(clips)} clips of mixed lengths", rows, tell)
    found.bars += [Bar("mixed lengths", f"emotape {name}", _times_real(audio, one)) for name, one in timed.items()]
    found.samples += [{"audio": audio, "side": name, "took": one.seconds} for name, one in timed.items()]
    reasons = {one.reason for one in busy.values() if one.reason}
    found.notes += [f"how busy the device was is not known: {reason}" for reason in sorted(reasons)]


def _watched(
    work: Callable[[], list[ClipScores]], busy: dict[str, card.Busy], name: str, device: str
) -> list[ClipScores]:
    with card.watched_use(device) as use:
        answers = work()
    seen = busy.setdefault(name, card.Busy())
    seen.percent += use.percent
    seen.reason = use.reason
    return answers


def _throughput(
    name: str,
    timed: Timed[list[ClipScores]],
    audio: float,
    limit: float,
    busy: card.Busy,
    exact: list[ClipScores] | None,
) -> dict[str, Cell]:
    reached = _times_real(audio, timed)
    found = timed.answers[0]
    return {
        "side": name,
        "× real time": reached,
        "share of the limit": reached.median / limit,
        "device busy %": busy.mean,
        "error": None
        if exact is None
        else float(np.median([relative_error(a.embedding, b.embedding) for a, b in zip(found, exact, strict=True)])),
        "same label %": None if exact is None or (same := same_labels(found, exact)) is None else 100 * same,
    }


def _steps(found: _Found, runners: Runners, tell: Callable[[str], None]) -> None:
    """Time each step of a full tape by itself, on the device's own clock."""
    import torch

    arithmetic, rows = runners.options.arithmetics[0], list[dict[str, Any]]()
    tokens = runners.options.tape_tokens
    clips = runners.tapes(runners.clips(tokens / 25), tokens)[0]
    audio = sum(clip.waveform.seconds for clip in clips)
    tell(f"the steps of a tape of {tokens} tokens, {arithmetic}")
    with torch.inference_mode():
        for name, work in runners.kept(arithmetic).steps(clips).items():
            taken = card.milliseconds(work, runners.device)
            rows.append({"step": name, "ms": taken, "× real time": 1000 * audio / taken})
            found.samples.append({"step": name, "ms": taken, "audio": audio})
    found.add(f"Steps of one tape, {audio:.0f} s in {len(clips)} clips, {arithmetic}", rows, tell)


def _findings(found: _Found) -> Findings:
    title = f"Seconds of audio per second on {found.facts['card'] or found.facts['device']}: {found.facts['model']}"
    chart = Chart(title, "× real time", tuple(found.bars))
    return Findings("gpu", found.facts, tuple(found.tables), (chart,), tuple(found.samples), tuple(found.notes))

"""`emotape bench peers`: the reference package and emotape on the same clips with the same threads."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.bench import speech
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.reference import Heard, Reference, relative_error, require
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject
from emotape.errors import EmotapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.recognizer import Recognizer

PEER: Final = "FunASR float32"


@dataclass(frozen=True)
class PeersOptions:
    """Which clips, threads and arithmetics, and how often."""

    choice: Choice = field(default_factory=Choice)
    seconds: tuple[float, ...] = (3.0, 10.0, 30.0)
    threads: tuple[int, ...] = (1, 2)
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "int8")
    runs: int = 7


@dataclass(frozen=True)
class Case:
    """What was measured with one length of clip and one number of threads, by side."""

    seconds: float
    threads: int
    timed: dict[str, Timed[Heard]]


def measure(options: PeersOptions, tell: Callable[[str], None]) -> Findings:
    """Time `Emotion2vec.inference` and emotape in turns. Raises BadRequest `bench_peer_missing` and ModelFault."""
    require("funasr")
    with subject(options.choice, official=True) as model:
        assert model.official is not None  # noqa: S101 - it was asked for
        cases, refused = [], dict[str, str]()
        for threads in options.threads:
            with ExitStack() as stack:
                reference = Reference(model.official, threads)
                ours = _recognizers(stack, model.directory, threads, options.dtypes, refused)
                for seconds in options.seconds:
                    tell(f"{seconds:g} s, {threads} threads: {', '.join((PEER, *ours))}")
                    cases.append(_case(reference, ours, seconds, threads, options.runs))
        settings = model.facts() | {"seconds": options.seconds, "threads": options.threads, "runs": options.runs}
    return _findings(cases, settings, [f"{name} was left out: {reason}" for name, reason in refused.items()])


def _recognizers(
    stack: ExitStack, directory: Path, threads: int, dtypes: Sequence[str], refused: dict[str, str]
) -> dict[str, Recognizer]:
    """Open a recognizer for each arithmetic; note those that the engine refuses."""
    ours = {}
    for dtype in dtypes:
        name = f"emotape {dtype}"
        try:
            ours[name] = stack.enter_context(recognizer_of(directory, dtype, threads))
        except EmotapeError as error:
            refused[name] = str(error)
    return ours


def recognizer_of(directory: Path, dtype: str = "auto", threads: int | None = None) -> Recognizer:
    """Return a recognizer of a model directory with an arithmetic and a number of threads, on the CPU."""
    from emotape.engine.resident import EngineOptions
    from emotape.recognizer import Recognizer, RecognizerOptions

    wanted: Any = dtype
    engine = EngineOptions(device="cpu", dtype=wanted, compute_threads=threads)
    return Recognizer(directory, options=RecognizerOptions(engine=engine))


def _case(reference: Reference, ours: dict[str, Recognizer], seconds: float, threads: int, runs: int) -> Case:
    clips = [speech.clip(seconds, number) for number in range(runs)]
    sides = [Side(PEER, lambda number: reference.hear(clips[number]))]
    for name, recognizer in ours.items():
        sides.append(Side(name, lambda number, recognizer=recognizer: _hear(recognizer, clips[number])))  # type: ignore[misc]
    return Case(seconds, threads, interleaved(sides, runs))


def _hear(recognizer: Recognizer, clip: Waveform) -> Heard:
    prediction = recognizer.recognize(clip, embedding=True)
    assert prediction.embedding is not None  # noqa: S101 - it was asked for
    return Heard(prediction.embedding, prediction.emotion)


def _findings(cases: Sequence[Case], settings: dict[str, object], notes: list[str]) -> Findings:
    rows = tuple(_row(case, name) for case in cases for name in case.timed)
    bars = tuple(
        Bar(f"{case.seconds:g} s, {case.threads} thr.", name, _ratio(case, name))
        for case in cases
        for name in case.timed
        if name != PEER
    )
    title = f"Peers: {settings['model']}; error is of the embedding, relative to FunASR in float32"
    chart = Chart(f"Times faster than FunASR's inference: {settings['model']}", "ratio of paired runs", bars)
    samples = tuple(_sample(case, name) for case in cases for name in case.timed)
    return Findings("peers", settings, (Table(title, rows),), (chart,), samples, tuple(notes))


def _sample(case: Case, name: str) -> dict[str, object]:
    timed = case.timed[name]
    taken = {"took": timed.seconds, "processor": timed.processor}
    return {"seconds": case.seconds, "threads": case.threads, "side": name, **taken}


def _row(case: Case, name: str) -> dict[str, str | int | float | Spread | None]:
    timed, yardstick = case.timed[name], case.timed[PEER]
    pairs = list(zip(timed.answers, yardstick.answers, strict=True))
    taken = spread(timed.seconds)
    return {
        "clip s": case.seconds,
        "threads": case.threads,
        "side": name,
        "ms": spread([1000 * seconds for seconds in timed.seconds]),
        "cores busy": timed.cores,
        "× real time": case.seconds / taken.median,
        "× FunASR": None if name == PEER else _ratio(case, name),
        "error": None
        if name == PEER
        else max(relative_error(mine.embedding, theirs.embedding) for mine, theirs in pairs),
        "same label": f"{sum(mine.emotion == theirs.emotion for mine, theirs in pairs)}/{len(pairs)}",
    }


def _ratio(case: Case, name: str) -> Spread:
    return times_faster(case.timed[PEER].seconds, case.timed[name].seconds)

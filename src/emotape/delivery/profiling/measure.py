"""A profile: the model is loaded, every recording answered cold or warm, stage after stage; then by the recognizer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from emotape.delivery.profiling.stopwatch import Stopwatch
from emotape.errors import EmotapeError
from emotape.events import Event, ModelLoaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.delivery.profiling.answer import Bench
    from emotape.delivery.profiling.stopwatch import Lap, Tape
    from emotape.engine.result import Granularity
    from emotape.engine.wanted import Wanted
    from emotape.recognizer import Recognizer
    from emotape.settings import Settings


@dataclass(frozen=True)
class Asked:
    """What is profiled: every recording at every granularity, `repeat` times warm."""

    files: tuple[Path, ...]
    granularities: tuple[Granularity, ...] = ("utterance", "frame")
    embedding: bool = False
    repeat: int = 5


@dataclass(frozen=True)
class Run:
    """One recording answered once, stage after stage. `whole` are its seconds by a clock of their own."""

    file: Path
    granularity: Granularity
    cold: bool
    audio_seconds: float
    laps: tuple[Lap, ...]
    whole: float


@dataclass(frozen=True)
class Recognized:
    """What `Recognizer.recognize` took for one recording at one granularity, in seconds, warm."""

    file: Path
    granularity: Granularity
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Failure:
    """A recording that could not be answered."""

    file: Path
    error: EmotapeError


@dataclass(frozen=True)
class Profile:
    """Everything that was measured.

    began       by the clock of the looks
    prelude     importing and loading, which the first answer waits for; `prelude_whole` as of a run
    runs        the first one is cold, if there is any
    recognized  empty where no recording was answered
    """

    asked: Asked
    model: ModelLoaded | None
    began: float
    prelude: tuple[Lap, ...]
    prelude_whole: float
    runs: tuple[Run, ...]
    recognized: tuple[Recognized, ...]
    tapes: tuple[Tape, ...]
    failures: tuple[Failure, ...]


@dataclass
class _Notes:
    """What a profile gathers on its way."""

    runs: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    models: list[ModelLoaded] = field(default_factory=list)

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, ModelLoaded):
            self.models.append(event)


def profile(settings: Settings, asked: Asked) -> Profile:
    """Measure. A recording that cannot be answered is noted and left out.

    Raises ModelFault, EngineFault and BadRequest where there is no model to measure with.
    """
    watch, notes = Stopwatch(), _Notes()
    began = time.perf_counter()
    watch.start()
    with TemporaryDirectory(prefix="emotape-profile-") as folder:
        bench = _load(settings, Path(folder), watch, notes)
        prelude, whole = watch.taken(), time.perf_counter() - began
        try:
            _run_stages(bench, asked, watch, notes)
        finally:
            bench.resident.close()
    del bench  # its memory is the recognizer's now
    recognized = _recognize(settings, asked, notes)
    model = notes.models[0] if notes.models else None
    return Profile(
        asked, model, began, prelude, whole, tuple(notes.runs), recognized, watch.tapes, tuple(notes.failures)
    )


def _load(settings: Settings, output: Path, watch: Stopwatch, notes: _Notes) -> Bench:
    from emotape.delivery.profiling import answer

    watch.lap("import")
    bench = answer.load(settings, output, (watch, notes))
    watch.lap("load")
    return bench


def _run_stages(bench: Bench, asked: Asked, watch: Stopwatch, notes: _Notes) -> None:
    """Answer everything in one thread. Every round goes through all recordings, so that noise meets them alike."""
    from emotape.model.team import multiply_alone

    with ThreadPoolExecutor(1, "emotape-profile", multiply_alone) as alone:
        files = [file for file in asked.files if alone.submit(_first, bench, asked, file, watch, notes).result()]
        for _ in range(asked.repeat):
            for file in files:
                for granularity in asked.granularities:
                    run = alone.submit(_run, bench, file, _wanted(asked, granularity), watch, cold=False)
                    notes.runs.append(run.result())


def _first(bench: Bench, asked: Asked, file: Path, watch: Stopwatch, notes: _Notes) -> bool:
    """Answer a recording for the first time, and say whether it can be answered at all.

    The very first one is the cold answer. With the others kernels for their length are made, so they do not count.
    """
    cold = not notes.runs
    try:
        runs = [_run(bench, file, _wanted(asked, granularity), watch, cold=cold) for granularity in asked.granularities]
    except EmotapeError as error:
        notes.failures.append(Failure(file, error))
        return False
    notes.runs.extend(runs[:1] if cold else [])
    return True


def _wanted(asked: Asked, granularity: Granularity) -> Wanted:
    from emotape.engine.wanted import Wanted

    return Wanted(granularity, asked.embedding, quality=False)


def _run(bench: Bench, file: Path, wanted: Wanted, watch: Stopwatch, *, cold: bool) -> Run:
    from emotape.delivery.profiling.answer import answer

    began = time.perf_counter()
    watch.start()
    prediction = answer(bench, file, wanted, watch)
    whole = time.perf_counter() - began
    return Run(file, wanted.granularity, cold, prediction.seconds, watch.taken(), whole)


def _recognize(settings: Settings, asked: Asked, notes: _Notes) -> tuple[Recognized, ...]:
    """Have the recognizer do the same, after a round that does not count."""
    from emotape.delivery.profiling.answer import recognizer_of

    kinds = kinds_of(notes.runs)
    if not kinds:
        return ()
    with recognizer_of(settings) as recognizer:
        rounds = [[_seconds(recognizer, asked, *kind) for kind in kinds] for _ in range(asked.repeat + 1)]
    return tuple(Recognized(*kind, taken) for kind, taken in zip(kinds, zip(*rounds[1:], strict=True), strict=True))


def _seconds(recognizer: Recognizer, asked: Asked, file: Path, granularity: Granularity) -> float:
    began = time.perf_counter()
    recognizer.recognize(file, granularity=granularity, embedding=asked.embedding)
    return time.perf_counter() - began


def kinds_of(runs: Sequence[Run]) -> list[tuple[Path, Granularity]]:
    """Return what was answered warm, each once: recording and granularity."""
    return list(dict.fromkeys((run.file, run.granularity) for run in runs if not run.cold))

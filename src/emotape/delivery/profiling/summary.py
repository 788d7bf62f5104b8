"""What a profile comes to: time, work, memory and share of each stage, and which one is the bottleneck."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from emotape.delivery.profiling.measure import kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from emotape.delivery.profiling.measure import Profile, Run
    from emotape.delivery.profiling.stopwatch import Lap
    from emotape.engine.result import Granularity

STAGES: Final = (
    "import",
    "load",
    "validate",
    "decode",
    "resample",
    "window",
    "inference",
    "prediction",
    "output",
)
"""In the order in which they happen."""


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, of the processor, and of a device running tapes; bytes by which memory grew."""

    seconds: float = 0.0
    processor: float = 0.0
    running: float = 0.0
    resident: float = 0.0
    card: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(own + others for own, others in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        """Return all five, in order."""
        return self.seconds, self.processor, self.running, self.resident, self.card

    @property
    def cpu_percent(self) -> float:
        """How busy the processor was, in percent of one core."""
        return 100 * self.processor / self.seconds if self.seconds else 0.0

    @property
    def gpu_percent(self) -> float:
        """For how much of the time a device ran a tape, in percent."""
        return min(100.0, 100 * self.running / self.seconds) if self.seconds else 0.0


@dataclass(frozen=True)
class Breakdown:
    """Where the time of answers went.

    costs       by stage, in order
    whole       seconds of the whole, by a clock of its own
    audio       seconds of audio that were answered
    recognizer  seconds that `Recognizer.recognize` took for the same; None where it did not do the same
    """

    costs: dict[str, Cost]
    whole: float
    audio: float
    recognizer: float | None = None

    @property
    def stages_seconds(self) -> float:
        """The sum of the stages, to be held against the whole."""
        return sum(cost.seconds for cost in self.costs.values())

    @property
    def answer_seconds(self) -> float:
        """The sum of the stages that `Recognizer.recognize` has, too: all but the result folder."""
        return self.stages_seconds - self.costs.get("output", Cost()).seconds

    def share(self, stage: str) -> float:
        """Return the part of the whole that a stage took, 0 to 1."""
        return self.costs[stage].seconds / self.whole if self.whole else 0.0

    @property
    def covered(self) -> float:
        """The sum of the stages as a part of the whole: near 1, or something is missing or counted twice."""
        return self.stages_seconds / self.whole if self.whole else 0.0

    @property
    def bottleneck(self) -> str:
        """The stage that took most of the time."""
        return max(self.costs, key=lambda stage: self.costs[stage].seconds)


@dataclass(frozen=True)
class Summary:
    """A profile in figures. `cold` is the first answer, with importing and loading; the others are medians, warm."""

    cold: Breakdown
    warm: dict[Granularity, Breakdown]
    files: dict[Path, dict[Granularity, Breakdown]]


def summarise(profile: Profile) -> Summary:
    """Return the figures of a profile in which a recording was answered."""
    first, taken = profile.runs[0], {(each.file, each.granularity): each.seconds for each in profile.recognized}
    files: dict[Path, dict[Granularity, Breakdown]] = {}
    for kind in kinds_of(profile.runs):
        file, granularity = kind
        runs = [run for run in profile.runs if not run.cold and (run.file, run.granularity) == kind]
        files.setdefault(file, {})[granularity] = _median(runs, taken[kind])
    whole = profile.prelude_whole + first.whole
    cold = Breakdown(_in_order(costs_of((*profile.prelude, *first.laps))), whole, first.audio_seconds)
    granularities = list(dict.fromkeys(granularity for _, granularity in kinds_of(profile.runs)))
    warm = {each: _together([found[each] for found in files.values()]) for each in granularities}
    return Summary(cold, warm, files)


def costs_of(laps: Iterable[Lap]) -> dict[str, Cost]:
    """Return what each stage took in all its laps."""
    found: dict[str, Cost] = {}
    for lap in laps:
        cost = Cost(lap.seconds, lap.processor, lap.running, lap.resident_growth, lap.card_growth)
        found[lap.stage] = found.get(lap.stage, Cost()) + cost
    return found


def _median(runs: Sequence[Run], recognizer: Sequence[float]) -> Breakdown:
    """Return the medians over several runs of one kind."""
    costs = [costs_of(run.laps) for run in runs]
    middle = {
        stage: Cost(*(median(values) for values in zip(*(each[stage].values() for each in costs), strict=True)))
        for stage in costs[0]
    }
    whole = median(run.whole for run in runs)
    return Breakdown(_in_order(middle), whole, runs[0].audio_seconds, median(recognizer))


def _together(parts: Sequence[Breakdown]) -> Breakdown:
    """Return the sum over several recordings."""
    costs = {stage: sum((part.costs[stage] for part in parts), Cost()) for stage in parts[0].costs}
    recognizer = sum(part.recognizer or 0.0 for part in parts)
    return Breakdown(costs, sum(part.whole for part in parts), sum(part.audio for part in parts), recognizer)


def _in_order(costs: dict[str, Cost]) -> dict[str, Cost]:
    return {stage: costs[stage] for stage in STAGES if stage in costs}

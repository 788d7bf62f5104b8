"""Two or more ways of doing the same, timed in turns, so that a busy machine disturbs all of them alike."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Side(Generic[Answer]):
    """One way: a name, and the work of a round. Equal rounds mean equal work for every side."""

    name: str
    work: Callable[[int], Answer]


@dataclass(frozen=True)
class Timed(Generic[Answer]):
    """What a side took and answered, round by round: seconds by the clock, and of the processor in all threads."""

    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    answers: tuple[Answer, ...]

    @property
    def cores(self) -> float:
        """How many cores were busy, in the middle of all rounds."""
        return median(busy / taken for busy, taken in zip(self.processor, self.seconds, strict=True))


@dataclass(frozen=True)
class Spread:
    """What the values of several rounds have in common, and how far they lie apart."""

    rounds: int
    median: float
    lowest: float
    lower_quartile: float
    upper_quartile: float
    highest: float


def interleaved(
    sides: Sequence[Side[Answer]],
    rounds: int,
    *,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    processor: Callable[[], float] = time.process_time,
) -> dict[str, Timed[Answer]]:
    """Run every side once a round, A B C, then C B A, and so on; return what each took and answered by its name.

    The work of round 0 is done once before, untimed, unless `warm_up` is off.
    """
    if warm_up:
        for side in sides:
            side.work(0)
    found: dict[str, list[tuple[float, float, Answer]]] = {side.name: [] for side in sides}
    for number, side in turns(sides, rounds):
        busy, began = processor(), clock()
        answer = side.work(number)
        found[side.name].append((clock() - began, processor() - busy, answer))
    return {name: _timed(one) for name, one in found.items()}


def _timed(found: Sequence[tuple[float, float, Answer]]) -> Timed[Answer]:
    return Timed(*zip(*found, strict=True))


def turns(sides: Sequence[Side[Answer]], rounds: int) -> Iterator[tuple[int, Side[Answer]]]:
    """Yield whose turn it is in which round: the order is reversed from one round to the next."""
    for number in range(rounds):
        for side in sides if number % 2 == 0 else tuple(reversed(sides)):
            yield number, side


def spread(values: Sequence[float]) -> Spread:
    """Return median, quartiles and extremes of at least one value."""
    lower, _, upper = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return Spread(len(values), median(values), min(values), lower, upper, max(values))


def times_faster(yardstick: Sequence[float], other: Sequence[float]) -> Spread:
    """Return how many times faster `other` was than `yardstick`, from the ratio within each round."""
    return spread([theirs / ours for theirs, ours in zip(yardstick, other, strict=True)])


def more(yardstick: Sequence[float], other: Sequence[float]) -> Spread:
    """Return how many percent more `other` took than `yardstick`, from the ratio within each round."""
    return spread([100 * (theirs / ours - 1) for ours, theirs in zip(yardstick, other, strict=True)])

"""A claim of tuning guides, and what measuring it found: ways of doing the same, each compared with another one."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Final

from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import interleaved, spread, times_faster
from emotape.delivery.bench.report import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from emotape.delivery.bench.pairing import Side, Spread
    from emotape.delivery.bench.report import Cell
    from emotape.delivery.bench.subject import Subject

Figures = dict[str, float]

_MARGIN: Final = 0.05
"""Quartiles within this share of 1 are no difference: pairs on a quiet machine differ by as much."""
_FEWEST_ROUNDS: Final = 3


@dataclass(frozen=True)
class Given:
    """What every claim is measured with.

    seconds  length of a clip
    threads  of the network
    runs     rounds; every way has one turn in each
    device   of the claims about graphics cards; None: the first one, if there is one
    redis    the Redis to ask, by its address; None: none
    folder   for files that are needed meanwhile
    tell     takes lines about the progress
    """

    model: Subject
    seconds: float
    threads: int
    runs: int
    device: str | None
    redis: str | None
    folder: Path
    tell: Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What was found for one claim.

    ways      for every way its figures, round by round
    compared  for a way the one that it is compared with; a way without one is a yardstick only
    figure    the figure that is compared; less of it is better
    """

    name: str
    said: str
    ways: Mapping[str, Sequence[Figures]]
    compared: Mapping[str, str]
    figure: str = "ms"
    notes: tuple[str, ...] = ()

    def ratio(self, way: str) -> Spread | None:
        """Return how many times less of the figure a way takes than what it is compared with, round by round."""
        if way not in self.compared:
            return None
        yardstick, own = ([found[self.figure] for found in self.ways[name]] for name in (self.compared[way], way))
        return times_faster(yardstick, own)

    def table(self) -> Table:
        """Return a row for every way, with the verdict on it."""
        return Table(f"{self.name}: {self.said}", tuple(self._row(way) for way in self.ways))

    def _row(self, way: str) -> dict[str, Cell]:
        ratio = self.ratio(way)
        known = list(dict.fromkeys(name for rounds in self.ways.values() for name in rounds[0]))
        figures = {name: _spread_of(self.ways[way], name) for name in known}
        return {
            "way": way,
            **figures,
            "× better": ratio,
            "than": self.compared.get(way),
            "verdict": None if ratio is None else verdict(ratio),
        }

    def chart(self) -> Chart:
        """Return the ratios as bars."""
        ratios = {way: self.ratio(way) for way in self.ways}
        bars = tuple(Bar(fill(way, 16), "ratio", ratio) for way, ratio in ratios.items() if ratio is not None)
        return Chart(f"{self.name}: {self.said}", "times better, paired", bars)

    def samples(self) -> tuple[Mapping[str, object], ...]:
        """Return every single measurement."""
        return tuple({"claim": self.name, "way": way, "rounds": tuple(found)} for way, found in self.ways.items())


def verdict(ratio: Spread) -> str:
    """Say what a way does to the figure, as far as the quartiles of its ratio allow."""
    if ratio.rounds < _FEWEST_ROUNDS:
        return "too few rounds"
    if ratio.lower_quartile > 1 + _MARGIN:
        return "helps"
    if ratio.upper_quartile < 1 - _MARGIN:
        return "harms"
    if ratio.lower_quartile >= 1 - _MARGIN and ratio.upper_quartile <= 1 + _MARGIN:
        return "no difference"
    return "unclear"


def in_turns(sides: Sequence[Side[Figures]], given: Given, *, warm_up: bool = True) -> dict[str, Sequence[Figures]]:
    """Let every way tell its own figures, round by round."""
    timed = interleaved(sides, given.runs, warm_up=warm_up)
    return {name: one.answers for name, one in timed.items()}


def _spread_of(rounds: Sequence[Figures], name: str) -> Spread | None:
    return spread([found[name] for found in rounds]) if name in rounds[0] else None

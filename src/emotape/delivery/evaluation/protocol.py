"""Figures as benchmarks of speech emotion give them: with intervals, and fold by fold (EmoBox, 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.evaluation.bootstrap import Interval, Unit, draws, intervals, units
from emotape.delivery.evaluation.calibration import BINS, ideal_error
from emotape.delivery.evaluation.figures import figures_of
from emotape.delivery.evaluation.table import ordered, tabulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.delivery.evaluation.figures import Figures
    from emotape.delivery.evaluation.manifest import Row

OVER_FOLDS: Final = ("uar", "accuracy", "macro_f1", "weighted_f1")

Scored = tuple["Row", "Mapping[str, float]"]


@dataclass(frozen=True)
class Rules:
    """How predictions are compared.

    With `restrict`, only the manifest's classes compete. `bins` are the calibration error's; whatever is drawn
    comes from `seed`.
    """

    restrict: bool = True
    bins: int = BINS
    seed: int = 0


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over folds."""

    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Part:
    """Some recordings: their figures, the 95 % intervals by measure, and what was drawn for them in each corpus.

    `folds` has the figures of each fold, if there is more than one; `spread` their mean and deviation by measure.
    `ideal_ece` is the calibration error of a model exactly as right as it is sure: mean, and what 95 % stay below.
    """

    figures: Figures
    intervals: Mapping[str, Interval]
    units: Mapping[str, Unit]
    folds: Mapping[str, Figures]
    spread: Mapping[str, Spread]
    ideal_ece: tuple[float, float]


def part(scored: Sequence[Scored], rules: Rules) -> Part:
    """Measure some recordings together; the classes among which the best is chosen are theirs."""
    truth = [str(row.label) for row, _ in scored]
    classes = ordered(set(truth)) if rules.restrict else None
    table = tabulate(truth, [scores for _, scores in scored], classes)
    drawn = units([row.speaker for row, _ in scored], [row.corpus for row, _ in scored])
    found = intervals(table, draws(drawn, rules.seed), rules.bins)
    folds = _folds([row.fold for row, _ in scored])
    by_fold = {name: figures_of(table.rows(rows), rules.bins) for name, rows in folds.items()}
    ideal = ideal_error(table.confidence, rules.bins, rules.seed)
    return Part(figures_of(table, rules.bins), found, drawn.kinds, by_fold, _spread(by_fold), ideal)


def _folds(names: Sequence[str]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return the places of each fold's recordings; nothing where there is but one."""
    several = sorted(set(names))
    if len(several) < 2:
        return {}
    given = np.array(names)
    return {name: np.flatnonzero(given == name) for name in several}


def _spread(folds: Mapping[str, Figures]) -> dict[str, Spread]:
    if not folds:
        return {}
    values = {name: np.array([getattr(found, name) for found in folds.values()]) for name in OVER_FOLDS}
    return {name: Spread(float(each.mean()), float(each.std(ddof=1))) for name, each in values.items()}

"""What harder conditions cost: the same recordings, clean and under each condition, drawn together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emotape.delivery.evaluation.bootstrap import Interval, draws, interval, measure, units
from emotape.delivery.evaluation.figures import figures_of
from emotape.delivery.evaluation.table import ordered, tabulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.delivery.evaluation.figures import Figures
    from emotape.delivery.evaluation.protocol import Rules, Scored

LOSSES = ("uar", "accuracy")


@dataclass(frozen=True, eq=False)
class Hardened:
    """Figures under one condition, and by measure what it costs against clean sound on the same recordings.

    `lost` is clean minus hard: what is lost is positive. `intervals` are 95 % of the paired draws.
    """

    condition: str
    figures: Figures
    lost: Mapping[str, float]
    intervals: Mapping[str, Interval]


def hardened(condition: str, clean: Sequence[Scored], hard: Sequence[Scored], rules: Rules) -> Hardened | None:
    """Compare a condition with clean sound over the recordings that were answered in both; None where none was."""
    answered = dict(hard)
    pairs = [(row, scores, answered[row]) for row, scores in clean if row in answered]
    if not pairs:
        return None
    truth = [str(row.label) for row, _, _ in pairs]
    classes = ordered({str(row.label) for row, _ in clean}) if rules.restrict else None
    before, after = (tabulate(truth, [pair[place] for pair in pairs], classes) for place in (1, 2))  # type: ignore[misc]
    drawn = units([row.speaker for row, _, _ in pairs], [row.corpus for row, _, _ in pairs])
    weights = np.vstack([np.ones(len(pairs)), draws(drawn, rules.seed)])
    clean_values, hard_values = (measure(table, weights, rules.bins) for table in (before, after))
    lost = {name: clean_values[name] - hard_values[name] for name in LOSSES}
    return Hardened(
        condition,
        figures_of(after, rules.bins),
        {name: float(values[0]) for name, values in lost.items()},
        {name: interval(values[1:]) for name, values in lost.items()},
    )

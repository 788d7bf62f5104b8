"""Predictions beside the truth, as arrays: what every figure and every bootstrap draw is calculated from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.model.labels import OFFICIAL_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SMALLEST: Final = float(np.finfo(np.float32).tiny)
"""The probability that a class has at least: float32 cannot tell less from nothing, and nothing has no logarithm."""


@dataclass(frozen=True, eq=False)
class Table:
    """n recordings with their probabilities over the labels that compete.

    labels          [c] keys: the classes first among which the truth is, then whatever else was recognised
    truth           [n] places in `labels`
    recognised      [n] places in `labels`
    confidence      [n] probability of what was recognised, among the labels that compete
    brier           [n] squared distance between the probabilities and the truth, 0 to 2
    surprise        [n] minus the logarithm of the true label's probability
    """

    labels: tuple[str, ...]
    truth: NDArray[np.int64]
    recognised: NDArray[np.int64]
    confidence: NDArray[np.float64]
    brier: NDArray[np.float64]
    surprise: NDArray[np.float64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[n] whether what was recognised is the truth."""
        same: NDArray[np.bool_] = self.truth == self.recognised
        return same

    def rows(self, chosen: NDArray[np.int64]) -> Table:
        """Return some of the recordings."""
        columns = (self.truth, self.recognised, self.confidence, self.brier, self.surprise)
        return Table(self.labels, *(column[chosen] for column in columns))  # type: ignore[arg-type]


def tabulate(truth: Sequence[str], scores: Sequence[Mapping[str, float]], classes: Sequence[str] | None) -> Table:
    """Lay out predictions; `classes` compete, or all labels of the scores where None."""
    compete = ordered({*truth, *(classes or (key for row in scores for key in row))})
    shares = probabilities(scores, compete)
    true = np.array([compete.index(label) for label in truth], np.int64)
    best = shares.argmax(1)
    used = ordered({compete[place] for place in {*true.tolist(), *best.tolist()}} | set(classes or ()))
    places = np.array([used.index(key) if key in used else -1 for key in compete], np.int64)
    each = np.arange(len(truth))
    own = shares[each, true]
    return Table(
        labels=tuple(used),
        truth=places[true],
        recognised=places[best],
        confidence=shares[each, best],
        brier=(shares**2).sum(1) - 2 * own + 1,
        surprise=-np.log(np.maximum(own, SMALLEST)),
    )


def probabilities(scores: Sequence[Mapping[str, float]], among: Sequence[str]) -> NDArray[np.float64]:
    """Return the scores [n, c] of some labels, divided by their sum; zeros where all of them are 0."""
    part = np.array([[row.get(key, 0.0) for key in among] for row in scores], np.float64).reshape(-1, len(among))
    total = part.sum(1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(part, total, out=np.zeros_like(part), where=total > 0)
    return shares


def ordered(keys: set[str]) -> list[str]:
    """Return label keys in the official order, a model's own ones after them."""
    return [key for key in OFFICIAL_KEYS if key in keys] + sorted(keys - set(OFFICIAL_KEYS))

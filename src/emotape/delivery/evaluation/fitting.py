"""What is learnt from an evaluation: a temperature, a threshold, and how sure the model should have been.

All labels compete here, as for a user: that is the confidence which results carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.evaluation.calibration import (
    Threshold,
    area_under_risk,
    calibration_error,
    fit_temperature,
    risk_coverage,
    tempered,
    threshold_for,
)
from emotape.delivery.evaluation.table import SMALLEST, ordered, probabilities

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from emotape.delivery.evaluation.protocol import Rules, Scored

COVERAGE: Final = 0.8


@dataclass(frozen=True)
class Wish:
    """What is to be fitted: a temperature or not, and a threshold for a coverage or none."""

    temperature: bool = False
    coverage: float | None = None


@dataclass(frozen=True, eq=False)
class Confidence:
    """How good the confidence is that users see; `risk` is the risk-coverage curve, `area` what is under it."""

    nll: float
    brier: float
    ece: float
    risk: tuple[tuple[float, float], ...]
    area: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted temperature (1: none was asked for), the confidence before and after it, and the threshold if any."""

    temperature: float
    before: Confidence
    after: Confidence
    threshold: Threshold | None


def fit(scored: Sequence[Scored], wish: Wish, rules: Rules) -> Fit:
    """Fit what is wished for. Raises BadRequest "too_few_to_fit"."""
    shares, truth = _laid_out(scored)
    temperature = fit_temperature(shares, truth) if wish.temperature else 1.0
    heated = tempered(shares, temperature) if wish.temperature else shares
    before = confidence(shares, truth, rules)
    after = confidence(heated, truth, rules) if wish.temperature else before
    sure, correct = heated.max(1), heated.argmax(1) == truth
    threshold = None if wish.coverage is None else threshold_for(wish.coverage, sure, correct)
    return Fit(temperature, before, after, threshold)


def seen(scored: Sequence[Scored], rules: Rules) -> Confidence:
    """Return how good the confidence is as it stands."""
    return confidence(*_laid_out(scored), rules)


def confidence(shares: NDArray[np.float64], truth: NDArray[np.int64], rules: Rules) -> Confidence:
    """Judge probabilities [n, c] by the places of the truth [n]."""
    own = shares[np.arange(len(truth)), truth]
    sure, correct = shares.max(1), shares.argmax(1) == truth
    curve = risk_coverage(sure, correct)
    return Confidence(
        nll=float(-np.log(np.maximum(own, SMALLEST)).mean()),
        brier=float(((shares**2).sum(1) - 2 * own + 1).mean()),
        ece=calibration_error(sure, correct, rules.bins),
        risk=tuple(curve),
        area=area_under_risk(curve),
    )


def _laid_out(scored: Sequence[Scored]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return probabilities [n, c] over the labels that the model ever gives anything, and the places of the truth."""
    truth = [str(row.label) for row, _ in scored]
    given = {key for _, scores in scored for key, score in scores.items() if score > 0}
    labels = ordered(given | set(truth))
    places = np.array([labels.index(label) for label in truth], np.int64)
    return probabilities([scores for _, scores in scored], labels), places

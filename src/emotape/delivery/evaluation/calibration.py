"""Confidence that means something: how far off it is, the temperature that mends it, the threshold of being unsure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.evaluation.table import SMALLEST
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS: Final = 15  # of equal width, as calibration errors are usually given
FEWEST: Final = 20
"""Recordings to fit by; one temperature from fewer says more of them than of the model."""
COOLEST, HOTTEST = 0.05, 20.0
_DIGITS: Final = 1_000_000


@dataclass(frozen=True)
class Threshold:
    """The confidence `below` which a model is unsure, chosen so that `coverage` of `n` recordings are not.

    `accuracy` is that of those which are not, `accuracy_of_all` that of all.
    """

    below: float
    coverage: float
    accuracy: float
    accuracy_of_all: float
    n: int


def bin_of(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Return the bin [n] of each confidence; a bin is (low, high], and 0 is in the first."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS
) -> list[tuple[float, float, float]]:
    """Return (mean confidence, accuracy, share of recordings) of every bin that holds any."""
    places = bin_of(confidence, bins)
    return [
        (float(confidence[inside].mean()), float(correct[inside].mean()), float(inside.mean()))
        for inside in (places == number for number in range(bins))
        if inside.any()
    ]


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the expected calibration error: |accuracy − mean confidence| per bin, weighted by the bin's share."""
    found = reliability(confidence, correct, bins)
    return sum(share * abs(accuracy - sure) for sure, accuracy, share in found)


def ideal_error(confidence: NDArray[np.float64], bins: int, seed: int, draws: int = 1000) -> tuple[float, float]:
    """Return the calibration error (mean, and what 95 % stay below) of a model that is exactly as right as it is sure.

    It is above 0, the more so the fewer the recordings: each bin's accuracy is that of a handful. Each draw says of
    every recording by its confidence whether it was right.
    """
    random = np.random.default_rng(seed)
    right = random.random((draws, len(confidence))) < confidence
    marks = np.zeros((len(confidence), bins))
    marks[np.arange(len(confidence)), bin_of(confidence, bins)] = 1
    errors = np.abs((right - confidence) @ marks).sum(1) / len(confidence)
    return float(errors.mean()), float(np.percentile(errors, 95))


def fit_temperature(shares: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the temperature that makes the true labels likeliest; probabilities [n, c], places of the truth [n].

    The likelihood has one peak in 1/temperature, where the mean logit of the truth equals the mean expected logit. If
    it lies beyond 0.05 or 20, that end is returned. Raises BadRequest "too_few_to_fit".
    """
    from scipy.optimize import brentq

    if len(truth) < FEWEST:
        raise BadRequest("too_few_to_fit", count=len(truth), fewest=FEWEST)
    logits = np.log(np.maximum(shares, SMALLEST))
    wanted = logits[np.arange(len(truth)), truth].mean()

    def slope(log_temperature: float) -> float:
        heated = tempered(shares, math.exp(log_temperature))
        return float((heated * logits).sum(1).mean() - wanted)

    low, high = math.log(COOLEST), math.log(HOTTEST)
    if slope(low) <= 0:
        return COOLEST
    if slope(high) >= 0:
        return HOTTEST
    return math.exp(brentq(slope, low, high, xtol=1e-9))


def tempered(shares: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return the probabilities [n, c] that a model has whose logits are divided by a temperature."""
    logits = np.log(np.maximum(shares, SMALLEST)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return found


def threshold_for(coverage: float, confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> Threshold:
    """Return the highest threshold that leaves at least `coverage` of the recordings certain, to six digits."""
    kept = max(1, math.ceil(round(coverage * len(confidence), 9)))
    lowest = float(np.sort(confidence)[-kept])
    below = math.floor(lowest * _DIGITS) / _DIGITS
    certain = confidence >= below
    return Threshold(
        below, float(certain.mean()), float(correct[certain].mean()), float(correct.mean()), len(confidence)
    )


def risk_coverage(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Return (coverage, share of errors among the covered) as the threshold falls; equal confidences come together."""
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], ~correct[order]
    counts = np.arange(1, len(sure) + 1)
    ends = np.append(np.flatnonzero(np.diff(sure)), len(sure) - 1)
    risks = np.cumsum(wrong) / counts
    return [(float(counts[end] / len(sure)), float(risks[end])) for end in ends]


def area_under_risk(curve: list[tuple[float, float]]) -> float:
    """Return the mean risk over all coverages (AURC): the smaller, the better confidence tells right from wrong."""
    before, area = 0.0, 0.0
    for coverage, risk in curve:
        area += (coverage - before) * risk
        before = coverage
    return area

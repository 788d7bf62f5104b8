"""How good a head is while it is made: recall, surprise, temperature, and how sure one can be of a recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emotape.delivery.evaluation.bootstrap import draws, interval, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from emotape.delivery.evaluation.bootstrap import Unit


@dataclass(frozen=True)
class Interval:
    """A recall with the 95 % interval of a bootstrap over speakers or recordings."""

    value: float
    low: float
    high: float
    over: Unit


def macro_recall(truth: NDArray[np.intp], found: NDArray[np.intp]) -> float:
    """Return the mean recall over the classes that occur in `truth` [n] (UAR)."""
    return float(np.mean([(found[truth == each] == each).mean() for each in np.unique(truth)]))


def surprise(truth: NDArray[np.intp], logits: NDArray[np.floating]) -> float:
    """Return the mean negative log-likelihood of classes [n] under logits [n, C]."""
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -float(logs[np.arange(len(truth)), truth].mean())


def worth(truth: NDArray[np.intp], logits: NDArray[np.floating]) -> tuple[float, float]:
    """Return how good logits [n, C] are, for comparing: their macro recall, then how little they are surprised."""
    return macro_recall(truth, logits.argmax(1)), -surprise(truth, logits)


def temperature_of(truth: NDArray[np.intp], logits: NDArray[np.floating]) -> float:
    """Return what to divide logits [n, C] by so that they surprise least; 1 where there are too few to say."""
    from emotape.delivery.evaluation.calibration import FEWEST, fit_temperature
    from emotape.engine.result import softmax

    if len(truth) < FEWEST:
        return 1.0
    return fit_temperature(softmax(logits).astype(np.float64), truth)


def recall_interval(truth: NDArray[np.intp], found: NDArray[np.intp], speakers: Sequence[str], seed: int) -> Interval:
    """Return the macro recall with its interval: over speakers where there are enough, else over recordings."""
    drawn = units(speakers, [""] * len(truth))
    weights = draws(drawn, seed)
    member = truth[:, None] == np.unique(truth)
    seen = weights @ member.astype(np.float64)
    hits = weights @ (member & (found == truth)[:, None]).astype(np.float64)
    recalls = np.divide(hits, seen, out=np.full_like(hits, np.nan), where=seen > 0)
    return Interval(macro_recall(truth, found), *interval(np.nanmean(recalls, axis=1)), drawn.kinds[""])

"""How far figures may be off: the recordings are drawn again and again, speaker by speaker, and measured each time.

A draw is a row of weights: how often each recording is in it. So all draws are measured together, as products of
matrices, and the figures themselves are those of the draw that holds every recording once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from emotape.delivery.evaluation.calibration import bin_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from emotape.delivery.evaluation.table import Table

MEASURES: Final = ("accuracy", "uar", "macro_f1", "weighted_f1", "ece", "brier")
DRAWS: Final = 1000
FEWEST_SPEAKERS: Final = 5
"""Drawing among fewer speakers says little: then recordings are drawn."""
_PART: Final = 2_000_000  # weights at a time: 16 MB

Unit = Literal["speaker", "recording"]
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn: `of` [n] is the unit of each recording, `strata` [n] the corpus within which it is drawn.

    `kinds` says of each corpus by name what its units are.
    """

    of: NDArray[np.int64]
    strata: NDArray[np.int64]
    kinds: Mapping[str, Unit]


def units(speakers: Sequence[str], corpora: Sequence[str]) -> Units:
    """Return speakers as units where a corpus has enough of them and all its recordings name one, else recordings."""
    kinds: dict[str, Unit] = {}
    for corpus in dict.fromkeys(corpora):
        own = {speaker for speaker, name in zip(speakers, corpora, strict=True) if name == corpus}
        kinds[corpus] = "speaker" if "" not in own and len(own) >= FEWEST_SPEAKERS else "recording"
    names = [
        (corpus, speaker if kinds[corpus] == "speaker" else place)
        for place, (speaker, corpus) in enumerate(zip(speakers, corpora, strict=True))
    ]
    return Units(_numbered(names), _numbered(corpora), kinds)


def draws(drawn: Units, seed: int, count: int = DRAWS) -> NDArray[np.float64]:
    """Return weights [count, n]: units drawn with replacement within their corpus, as many as there are."""
    random = np.random.default_rng(seed)
    weights = np.zeros((count, len(drawn.of)))
    for stratum in np.unique(drawn.strata):
        inside = np.flatnonzero(drawn.strata == stratum)
        names, unit = np.unique(drawn.of[inside], return_inverse=True)
        times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
        weights[:, inside] = times[:, unit]
    return weights


def measure(table: Table, weights: NDArray[np.float64], bins: int) -> dict[str, NDArray[np.float64]]:
    """Return each of MEASURES for every row of weights [b, n]: arrays [b].

    A class that a draw does not hold takes no part in that draw's means over classes.
    """
    rows = max(1, _PART // max(1, weights.shape[1]))
    parts = [_measure(table, weights[start : start + rows], bins) for start in range(0, len(weights), rows)]
    return {name: np.concatenate([part[name] for part in parts]) for name in MEASURES}


def intervals(table: Table, weights: NDArray[np.float64], bins: int) -> dict[str, Interval]:
    """Return for each of MEASURES between which values 95 % of the draws lie."""
    return {name: interval(values) for name, values in measure(table, weights, bins).items()}


def interval(values: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of some values."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _measure(table: Table, weights: NDArray[np.float64], bins: int) -> dict[str, NDArray[np.float64]]:
    size = len(table.labels)
    total = weights.sum(1)
    counts = (weights @ _marks(table.truth * size + table.recognised, size * size)).reshape(-1, size, size)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    support, given = counts.sum(2), counts.sum(1)
    recall = np.divide(hits, support, out=np.full_like(hits, np.nan), where=support > 0)
    f1 = np.where(support > 0, 2 * hits / np.maximum(support + given, 1e-12), np.nan)
    return {
        "accuracy": hits.sum(1) / total,
        "uar": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "weighted_f1": np.nansum(f1 * support, axis=1) / total,
        "ece": _gaps(table, weights, bins).sum(1) / total,
        "brier": weights @ table.brier / total,
    }


def _gaps(table: Table, weights: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return |correct − confidence|, summed over the recordings of each bin: [b, bins]."""
    gap = table.correct - table.confidence
    marks = _marks(bin_of(table.confidence, bins), bins) * gap[:, None]
    found: NDArray[np.float64] = np.abs(weights @ marks)
    return found


def _marks(places: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return rows [n, size] with a one at each place."""
    marks = np.zeros((len(places), size))
    marks[np.arange(len(places)), places] = 1
    return marks


def _numbered(names: Sequence[object]) -> NDArray[np.int64]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)

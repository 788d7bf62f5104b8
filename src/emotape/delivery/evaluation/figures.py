"""Figures from predictions and the truth: accuracy, UAR, macro F1, calibration, confusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from emotape.model.labels import OFFICIAL_KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

BINS: Final = 15  # of equal width, as calibration errors are usually given


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures over n recordings and their classes [c].

    `per_class` has precision, recall, f1 and n of each; `confusion` counts [true, recognised] over `labels`, which
    are the classes and, when predictions are not restricted to them, whatever else was recognised.
    `confidence` [n] and `correct` [n] are what `ece` and a reliability diagram are made of.
    """

    n: int
    accuracy: float
    uar: float
    macro_f1: float
    ece: float
    per_class: Mapping[str, Mapping[str, float]]
    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]


def figures(truth: Sequence[str], scores: Sequence[Mapping[str, float]], *, restrict: bool = True) -> Figures:
    """Compare predictions with the truth.

    With `restrict`, the best of the classes that occur in `truth` is what was recognised, and its confidence is its
    share among them; otherwise it is the best of all labels, as a user would see it.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    classes = _ordered(set(truth))
    verdicts = [_verdict(row, classes if restrict else list(row)) for row in scores]
    recognised = [verdict[0] for verdict in verdicts]
    labels = classes if restrict else _ordered({*truth, *recognised})
    precision, recall, f1, counts = precision_recall_fscore_support(
        truth, recognised, labels=classes, average=None, zero_division=0.0
    )
    confidence, correct = _calibration(verdicts, truth)
    return Figures(
        n=len(truth),
        accuracy=float(accuracy_score(truth, recognised)),
        uar=float(recall.mean()),
        macro_f1=float(f1.mean()),
        ece=calibration_error(confidence, correct),
        per_class={
            key: {
                "precision": float(precision[at]),
                "recall": float(recall[at]),
                "f1": float(f1[at]),
                "n": int(counts[at]),
            }
            for at, key in enumerate(classes)
        },
        labels=tuple(labels),
        confusion=_confusion(truth, recognised, labels),
        confidence=confidence,
        correct=correct,
    )


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Return the expected calibration error: |accuracy − mean confidence| per bin, weighted by the bin's share."""
    return sum(share * abs(accuracy - confidence) for confidence, accuracy, share in reliability(confidence, correct))


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[tuple[float, float, float]]:
    """Return (mean confidence, accuracy, share of recordings) of every bin that holds any; a bin is (low, high]."""
    import numpy as np

    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return [
        (float(confidence[inside].mean()), float(correct[inside].mean()), float(inside.mean()))
        for inside in (bins == number for number in range(BINS))
        if inside.any()
    ]


def summary(found: Figures) -> dict[str, Any]:
    """Return what `emotape evaluate --json` prints."""
    return {
        "n": found.n,
        "accuracy": round(found.accuracy, 6),
        "uar": round(found.uar, 6),
        "macro_f1": round(found.macro_f1, 6),
        "ece": round(found.ece, 6),
        "per_class": {
            key: {name: round(value, 6) for name, value in values.items()} for key, values in found.per_class.items()
        },
        "confusion": {"labels": list(found.labels), "counts": found.confusion.tolist()},
    }


def _ordered(keys: set[str]) -> list[str]:
    """Return label keys in the official order, a model's own ones after them."""
    return [key for key in OFFICIAL_KEYS if key in keys] + sorted(keys - set(OFFICIAL_KEYS))


def _confusion(truth: Sequence[str], recognised: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """Count [true, recognised]; scikit-learn's own warns of a manifest with a single class."""
    import numpy as np

    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, ([labels.index(key) for key in truth], [labels.index(key) for key in recognised]), 1)
    return counts


def _verdict(scores: Mapping[str, float], among: Sequence[str]) -> tuple[str, float]:
    """Return the best of some labels and its share of their probability."""
    total = sum(scores.get(key, 0.0) for key in among)
    best = max(among, key=lambda key: scores.get(key, 0.0))
    return best, scores.get(best, 0.0) / total if total else 0.0


def _calibration(
    verdicts: Sequence[tuple[str, float]], truth: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    import numpy as np

    correct = [verdict[0] == label for verdict, label in zip(verdicts, truth, strict=True)]
    return np.array([verdict[1] for verdict in verdicts], np.float64), np.array(correct, np.bool_)

"""Figures from predictions and the truth: accuracy, UAR, F1, calibration, confusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emotape.delivery.evaluation.calibration import BINS, calibration_error
from emotape.delivery.evaluation.table import Table, ordered, tabulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures over n recordings and their classes.

    `per_class` has precision, recall, f1 and n of each; `confusion` counts [true, recognised] over the table's labels,
    which are the classes and, when predictions are not restricted to them, whatever else was recognised. `brier` (0 to
    2) and `nll` (in nats) are means over recordings; `ece` has `bins` bins.
    """

    table: Table
    accuracy: float
    uar: float
    macro_f1: float
    weighted_f1: float
    ece: float
    brier: float
    nll: float
    bins: int
    per_class: Mapping[str, Mapping[str, float]]

    @property
    def n(self) -> int:
        """How many recordings there are."""
        return len(self.table.truth)

    @property
    def labels(self) -> tuple[str, ...]:
        """Keys of the rows and columns of `confusion`."""
        return self.table.labels

    @property
    def confidence(self) -> NDArray[np.float64]:
        """[n] how sure the model was."""
        return self.table.confidence

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[n] whether it was right."""
        return self.table.correct

    @property
    def confusion(self) -> NDArray[np.int64]:
        """[true, recognised] counts; scikit-learn's own warns of a manifest with a single class."""
        counts = np.zeros((len(self.labels), len(self.labels)), np.int64)
        np.add.at(counts, (self.table.truth, self.table.recognised), 1)
        return counts


def figures(
    truth: Sequence[str], scores: Sequence[Mapping[str, float]], *, restrict: bool = True, bins: int = BINS
) -> Figures:
    """Compare predictions with the truth.

    With `restrict`, the best of the classes that occur in `truth` is what was recognised, and its confidence is its
    share among them; otherwise it is the best of all labels, as a user would see it.
    """
    return figures_of(tabulate(truth, scores, ordered(set(truth)) if restrict else None), bins)


def figures_of(table: Table, bins: int = BINS) -> Figures:
    """Return the figures of a table."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    classes = np.unique(table.truth)
    precision, recall, f1, counts = precision_recall_fscore_support(
        table.truth, table.recognised, labels=classes, average=None, zero_division=0.0
    )
    return Figures(
        table=table,
        accuracy=float(accuracy_score(table.truth, table.recognised)),
        uar=float(recall.mean()),
        macro_f1=float(f1.mean()),
        weighted_f1=float((f1 * counts).sum() / counts.sum()),
        ece=calibration_error(table.confidence, table.correct, bins),
        brier=float(table.brier.mean()),
        nll=float(table.surprise.mean()),
        bins=bins,
        per_class={
            table.labels[place]: {
                "precision": float(precision[at]),
                "recall": float(recall[at]),
                "f1": float(f1[at]),
                "n": int(counts[at]),
            }
            for at, place in enumerate(classes)
        },
    )


def summary(found: Figures) -> dict[str, Any]:
    """Return figures as plain values, the long-known keys first."""
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
        "weighted_f1": round(found.weighted_f1, 6),
        "brier": round(found.brier, 6),
        "nll": round(found.nll, 6),
        "ece_bins": found.bins,
    }

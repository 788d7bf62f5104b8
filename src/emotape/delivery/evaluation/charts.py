"""Pictures of an evaluation: the confusion matrix and the reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotape.delivery.evaluation.figures import reliability

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.delivery.evaluation.figures import Figures


def draw_confusion(found: Figures, model: str, path: Path) -> None:
    """Write the confusion matrix as PNG: counts, coloured by share of the true class. Texts are English."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    size = 2.5 + 0.7 * len(found.labels)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = found.confusion / found.confusion.sum(axis=1, keepdims=True).clip(min=1)
    display = ConfusionMatrixDisplay(shares, display_labels=found.labels)
    display.plot(ax=axes, cmap="Blues", xticks_rotation=45, im_kw={"vmin": 0, "vmax": 1}, include_values=False)
    for row, counts in enumerate(found.confusion):
        for column, count in enumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set(xlabel="recognised", ylabel="true", title=f"{model}\nUAR {found.uar:.3f}, n = {found.n}")
    figure.savefig(path, dpi=120, format="png")


def draw_reliability(found: Figures, model: str, path: Path) -> None:
    """Write the reliability diagram as PNG: accuracy against confidence, points as large as their share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    confidence, accuracy, share = zip(*reliability(found.confidence, found.correct), strict=True)
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="calibrated")
    axes.plot(confidence, accuracy, color="C0")
    axes.scatter(confidence, accuracy, [20 + 400 * part for part in share], color="C0", label="this model")
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="confidence",
        ylabel="accuracy",
        title=f"{model}\nECE {found.ece:.3f}, n = {found.n}",
    )
    axes.legend()
    figure.savefig(path, dpi=120, format="png")

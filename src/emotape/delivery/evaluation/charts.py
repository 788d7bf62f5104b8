"""Pictures of an evaluation: confusion matrix, reliability, risk by coverage, robustness. Texts are English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emotape.delivery.evaluation.calibration import reliability

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.delivery.evaluation.figures import Figures
    from emotape.delivery.evaluation.record import Evaluation


def draw_all(found: Evaluation, model: str, folder: Path) -> None:
    """Write confusion.png, reliability.png, risk-coverage.png and, after a sweep, robustness.png."""
    draw_confusion(found.figures, model, folder / "confusion.png")
    draw_reliability(found.figures, model, folder / "reliability.png")
    draw_risk(found, model, folder / "risk-coverage.png")
    if found.whole.hardened:
        draw_robustness(found, model, folder / "robustness.png")


def draw_confusion(found: Figures, model: str, path: Path) -> None:
    """Write the confusion matrix as PNG: counts, coloured by share of the true class."""
    from sklearn.metrics import ConfusionMatrixDisplay

    size = 2.5 + 0.7 * len(found.labels)
    axes = _axes(size + 1, size)
    shares = found.confusion / found.confusion.sum(axis=1, keepdims=True).clip(min=1)
    display = ConfusionMatrixDisplay(shares, display_labels=found.labels)
    display.plot(ax=axes, cmap="Blues", xticks_rotation=45, im_kw={"vmin": 0, "vmax": 1}, include_values=False)
    for row, counts in enumerate(found.confusion):
        for column, count in enumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set(xlabel="recognised", ylabel="true", title=f"{model}\nUAR {found.uar:.3f}, n = {found.n}")
    _save(axes, path)


def draw_reliability(found: Figures, model: str, path: Path) -> None:
    """Write the reliability diagram as PNG: accuracy against confidence, points as large as their share."""
    axes = _axes(5, 5)
    confidence, accuracy, share = zip(*reliability(found.confidence, found.correct, found.bins), strict=True)
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="calibrated")
    axes.plot(confidence, accuracy, color="C0")
    axes.scatter(confidence, accuracy, [20 + 400 * part for part in share], color="C0", label="this model")
    title = f"{model}\nECE {found.ece:.3f} in {found.bins} bins, n = {found.n}"
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title=title)
    axes.legend()
    _save(axes, path)


def draw_risk(found: Evaluation, model: str, path: Path) -> None:
    """Write the risk-coverage curve as PNG, with the model's own threshold and a fitted one where there are."""
    axes = _axes(6, 4.5)
    confidence = found.fit.after if found.fit else found.confidence
    axes.step(*zip(*confidence.risk, strict=True), where="post", color="C0", label="errors among the covered")
    flagged = found.whole.flagged
    if flagged is not None and flagged.accuracy is not None:
        axes.plot(flagged.coverage, 1 - flagged.accuracy, "o", color="C1", label="the model's threshold")
    if found.fit is not None and found.fit.threshold is not None:
        threshold = found.fit.threshold
        axes.plot(threshold.coverage, 1 - threshold.accuracy, "s", color="C2", label="the fitted threshold")
    title = f"{model}\narea {confidence.area:.3f}, n = {found.figures.n}"
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="coverage", ylabel="risk (share of errors)", title=title)
    axes.legend()
    _save(axes, path)


def draw_robustness(found: Evaluation, model: str, path: Path) -> None:
    """Write what each condition costs in UAR as PNG, with its 95 % interval."""
    axes = _axes(7, 1.2 + 0.32 * len(found.whole.hardened))
    for place, one in enumerate(found.whole.hardened):
        low, high = one.intervals["uar"]
        axes.plot([low, high], [place, place], color="C0")
        axes.plot(one.lost["uar"], place, "o", color="C0")
    axes.axvline(0, color="grey", linestyle="--")
    axes.set_yticks(range(len(found.whole.hardened)), [one.condition for one in found.whole.hardened])
    axes.invert_yaxis()
    axes.set(xlabel=f"UAR lost (clean: {found.figures.uar:.3f})", title=f"{model}, n = {found.figures.n}")
    _save(axes, path)


def _axes(width: float, height: float) -> Any:
    """Return axes in a figure of so many inches, drawn without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def _save(axes: Any, path: Path) -> None:
    axes.figure.savefig(path, dpi=120, format="png")

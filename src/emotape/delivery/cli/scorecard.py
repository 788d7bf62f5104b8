"""An evaluation for people: the figures, the classes, the confusion matrix and what was fitted, as text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.table import Table

from emotape.delivery.cli.errors import error_lines
from emotape.delivery.cli.show import bar, terminal
from emotape.delivery.cli.streams import printable
from emotape.model.labels import find_label
from emotape.wording import Language, interface_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from emotape.delivery.evaluation.figures import Figures
    from emotape.delivery.evaluation.fitting import Fit
    from emotape.delivery.evaluation.protocol import Part
    from emotape.delivery.evaluation.record import Evaluation, Group
    from emotape.delivery.evaluation.robustness import Hardened


def print_scorecard(found: Evaluation, language: Language) -> None:
    """Print figures and matrix on standard output; what went wrong or was left out on standard error."""
    _remarks(found, terminal(stderr=True), language)
    console = terminal()
    console.print(interface_text("evaluated", language, n=found.figures.n))
    _print_figures(found.whole, console, language)
    console.print(_classes(found.figures, language))
    console.print(_matrix(found.figures, language))
    if len(found.corpora) > 1 or found.whole.part.folds:
        console.print(_corpora(found.corpora, language))
    if found.whole.hardened:
        console.print(_robustness(found.whole.hardened, language))
    if found.fit is not None:
        _print_fit(found.fit, console, language)


def _print_figures(group: Group, console: Console, language: Language) -> None:
    part = group.part
    for key in ("uar", "accuracy", "macro_f1", "weighted_f1", "ece", "brier"):
        name = interface_text(key, language, bins=part.figures.bins)
        console.print(f"{name}: {_between(part, key)}")
    mean, below = part.ideal_ece
    console.print(interface_text("ideal_ece", language, mean=mean, below=below), soft_wrap=True)
    if group.flagged is not None and group.flagged.accuracy is not None:
        console.print(interface_text("flagged", language, **vars(group.flagged)), soft_wrap=True)


def tell_saved(target: Path, digest: str, language: Language) -> None:
    """Say on standard error where the model was saved, and its new digest."""
    text = interface_text("model_saved", language, path=printable(str(target)), digest=digest[:12])
    terminal(stderr=True).print(text, soft_wrap=True)


def _remarks(found: Evaluation, err: Console, language: Language) -> None:
    for row, error in found.failures:
        err.print(error_lines(error, language, printable(row.place)), soft_wrap=True)
    for code, counts in (("left_out", found.material.left_out), ("unknown_labels", found.material.unknown)):
        if counts:
            err.print(interface_text(code, language, what=_counted(counts, language)), soft_wrap=True)
    if found.material.missing_conditions:
        what = ", ".join(found.material.missing_conditions)
        err.print(interface_text("missing_conditions", language, what=what), soft_wrap=True)
    if found.provenance.experimental:
        err.print(interface_text("experimental", language), soft_wrap=True)


def _counted(counts: Mapping[str, int], language: Language) -> str:
    return ", ".join(f"{printable(_name(key, language))} × {count}" for key, count in counts.items())


def _print_fit(fit: Fit, console: Console, language: Language) -> None:
    for name in ("nll", "brier", "ece"):
        before, after = getattr(fit.before, name), getattr(fit.after, name)
        console.print(f"{name.upper()}: {before:.3f} → {after:.3f}")
    console.print(interface_text("fitted_temperature", language, temperature=fit.temperature))
    if fit.threshold is not None:
        console.print(interface_text("fitted_threshold", language, **vars(fit.threshold)), soft_wrap=True)


def _classes(found: Figures, language: Language) -> Table:
    table = Table("", "n", *(interface_text(key, language) for key in ("recall", "precision")), "F1", "", box=None)
    for column in table.columns[1:5]:
        column.justify = "right"
    for key, values in found.per_class.items():
        cells = (f"{values[name]:.3f}" for name in ("recall", "precision", "f1"))
        rich = sys.stdout.encoding.lower().startswith("utf")
        table.add_row(_name(key, language), str(int(values["n"])), *cells, bar(values["recall"], rich=rich))
    return table


def _matrix(found: Figures, language: Language) -> Table:
    """Return counts: a row per true class, a column per recognised one."""
    corner = interface_text("true_label", language)
    table = Table(corner, *(_name(key, language) for key in found.labels), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for key, counts in zip(found.labels, found.confusion, strict=True):
        table.add_row(_name(key, language), *(str(count) if count else "·" for count in counts))
    return table


def _corpora(found: Mapping[str, Group], language: Language) -> Table:
    """Return a row per corpus with its intervals, then one per fold, and mean ± deviation over folds."""
    table = Table(interface_text("corpus", language), "n", "UA", "WA", "F1", "wF1", box=None)
    for name, group in found.items():
        part = group.part
        f1 = (f"{part.figures.macro_f1:.3f}", f"{part.figures.weighted_f1:.3f}")
        cells = (_between(part, "uar"), _between(part, "accuracy"), *f1)
        table.add_row(printable(name) or "–", str(part.figures.n), *cells)
        for fold, one in part.folds.items():
            table.add_row(f"  {printable(fold)}", str(one.n), *(f"{getattr(one, key):.3f}" for key in part.spread))
        if part.spread:
            spread = (f"{each.mean:.3f} ± {each.deviation:.3f}" for each in part.spread.values())
            table.add_row("  " + interface_text("over_folds", language), "", *spread)
    return table


def _between(part: Part, key: str) -> str:
    low, high = part.intervals[key]
    return f"{getattr(part.figures, key):.3f} [{low:.3f}, {high:.3f}]"


def _robustness(found: tuple[Hardened, ...], language: Language) -> Table:
    heads = (interface_text(key, language) for key in ("condition", "uar_lost", "accuracy_lost"))
    condition, *lost = heads
    table = Table(condition, "UA", lost[0], "WA", lost[1], box=None)
    for one in found:
        cells = []
        for key in ("uar", "accuracy"):
            low, high = one.intervals[key]
            cells += [f"{getattr(one.figures, key):.3f}", f"{one.lost[key]:+.3f} [{low:+.3f}, {high:+.3f}]"]
        table.add_row(one.condition, *cells)
    return table


def _name(key: str, language: Language) -> str:
    label = find_label(key)
    return key if label is None else label.name(language)

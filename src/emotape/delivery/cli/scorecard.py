"""An evaluation for people: the figures, the classes and the confusion matrix as text."""

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
    from emotape.delivery.evaluation.figures import Figures
    from emotape.delivery.evaluation.record import Evaluation


def print_scorecard(found: Evaluation, language: Language) -> None:
    """Print figures and matrix on standard output; what went wrong or was left out on standard error."""
    err = terminal(stderr=True)
    for row, error in found.failures:
        err.print(error_lines(error, language, printable(f"{row.line}: {row.file}")), soft_wrap=True)
    if found.left_out:
        what = ", ".join(f"{_name(key, language)} × {count}" for key, count in found.left_out.items())
        err.print(interface_text("left_out", language, what=what), soft_wrap=True)
    if found.provenance.experimental:
        err.print(interface_text("experimental", language), soft_wrap=True)
    console = terminal()
    console.print(interface_text("evaluated", language, n=found.figures.n))
    for key in ("accuracy", "uar", "macro_f1", "ece"):
        value = getattr(found.figures, key)
        console.print(f"{interface_text(key, language)}: {value:.3f}")
    console.print(_classes(found.figures, language))
    console.print(_matrix(found.figures, language))


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


def _name(key: str, language: Language) -> str:
    label = find_label(key)
    return key if label is None else label.name(language)

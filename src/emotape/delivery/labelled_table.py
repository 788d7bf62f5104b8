"""A CSV of recordings with labels, as `evaluate` and `adapt` read it."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final, TypeVar

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Row = TypeVar("Row")

_NEEDED: Final = ("file", "label")


def read_table(path: Path, row: Callable[[int, Mapping[str, str]], Row]) -> tuple[Row, ...]:
    """Return what `row` makes of every line's number and cells; a cell that a line lacks is empty.

    Columns are named in the first line, in small or capital letters, and among them are file and label. Raises
    BadRequest: "manifest_unreadable" or "manifest_columns", and what `row` raises.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, restval="", strict=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            _require_columns(path, columns)
            return tuple(row(reader.line_num, cells) for cells in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadRequest("manifest_unreadable", path=str(path), reason=reason) from error


def _require_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        found = ", ".join(columns) or "-"
        raise BadRequest("manifest_columns", path=str(path), missing=", ".join(missing), found=found)

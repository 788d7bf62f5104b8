"""Recordings with labels, as `evaluate` and `adapt` read them: a CSV, or a folder whose folders are the labels."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from emotape.delivery.folders import Search, look_into
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

Row = TypeVar("Row")

_NEEDED: Final = ("file", "label")


@dataclass(frozen=True)
class Line:
    """What is said of one recording: a line of a CSV, or the place of a file in a folder.

    number  of the line; 0 in a folder, which has none
    file    the recording as it is named there; `path` is where it lies
    cells   by the names of the columns, in small letters; empty where a line lacks one
    place   where this is said, for a person
    """

    number: int
    file: str
    path: Path
    cells: Mapping[str, str]
    place: str


def read_table(path: Path, row: Callable[[Line], Row]) -> tuple[Row, ...]:
    """Return what `row` makes of every line of a CSV, or of every labelled recording in a folder.

    The first line of a CSV names its columns, in small or capital letters, and among them are file and label; paths
    are relative to it. In a folder, LABEL/FILE gives the label and LABEL/SPEAKER/FILE the speaker, too, however deep
    the file lies in the speaker's folder. `look_into` says what is a recording there; those beside the labels have
    none, and are left out.

    Raises BadRequest: "manifest_unreadable", "manifest_columns", "folder_unlabelled" or "unreadable", and what `row`
    raises.
    """
    try:
        return tuple(row(line) for line in (_folder(path) if path.is_dir() else _csv(path)))
    except OSError as error:
        raise BadRequest("unreadable", path=str(path), reason=error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest("manifest_unreadable", path=str(path), reason=str(error)) from error


def place_of(line: int, file: str) -> str:
    """Return how a list of errors names a recording: with its line, if there are lines."""
    return f"{line}: {file}" if line else file


def _csv(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.DictReader(text, skipinitialspace=True, restval="", strict=True)
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        _require_columns(path, columns)
        for cells in reader:
            file = cells["file"].strip()
            yield Line(reader.line_num, file, path.parent / file, cells, f"{path}:{reader.line_num}")


def _folder(folder: Path) -> Iterator[Line]:
    loose = labelled = 0
    for found in look_into(folder, Search(recursive=True)).found:
        if isinstance(found, BadRequest):
            raise found
        inside = found.relative_to(folder)
        label, *deeper = inside.parts[:-1] or ("",)
        if not label:
            loose += 1
            continue
        labelled += 1
        yield Line(0, str(inside), found, {"label": label, "speaker": deeper[0] if deeper else ""}, str(found))
    if not labelled:
        raise BadRequest("folder_unlabelled", path=str(folder), loose=loose)


def _require_columns(path: Path, columns: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        found = ", ".join(columns) or "-"
        raise BadRequest("manifest_columns", path=str(path), missing=", ".join(missing), found=found)

"""Manifests: a CSV, JSON lines, a Kaldi wav.scp or a plain list, read line by line."""

from __future__ import annotations

import csv
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.cli.inputs import listed_clip
from emotape.delivery.offline.item import Column, Item
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

PATHS: Final = ("path", "file")
"""The names, best first, of the column that holds the paths."""


@dataclass(frozen=True)
class ListSource:
    """A wav.scp (`key path` a line) or a list of paths."""

    path: Path

    @property
    def columns(self) -> tuple[Column, ...]:
        """A list has no more columns; the key of a wav.scp is the results' `id`."""
        return ()

    def items(self) -> Iterator[Item]:
        """Yield the recording of each line that is not empty."""
        for line in self.marks():
            clip = listed_clip(line, self.path.parent)
            yield Item(clip.name, clip.source, clip.key)  # type: ignore[arg-type] # never standard input

    def marks(self) -> Iterator[str]:
        """Yield each line that is not empty."""
        with _reading(self.path), self.path.open("rb") as file:
            for number, line in enumerate(file):
                text = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).strip()
                if text:
                    yield text


@dataclass(frozen=True)
class CsvSource:
    """A CSV, or with `separator` another table of texts; paths count from its folder."""

    path: Path
    separator: str = ","

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every column but that of the paths, as text. Raises BadRequest ("batch_columns")."""
        with _reading(self.path), self._opened() as file:
            names = self._reader(file).fieldnames or ()
        column = path_column(names, self.path)
        return tuple(Column(name, "string") for name in names if name != column)

    def items(self) -> Iterator[Item]:
        """Yield the recording of each row."""
        carried = [column.name for column in self.columns]
        for row in self.marks():
            paths = path_column(row, self.path)
            yield item(row[paths], self.path.parent, {name: row[name] for name in carried})

    def marks(self) -> Iterator[Mapping[str, str]]:
        """Yield each row."""
        with _reading(self.path), self._opened() as file:
            yield from self._reader(file)

    def _opened(self) -> Any:
        return self.path.open(encoding="utf-8-sig", newline="")

    def _reader(self, file: Any) -> csv.DictReader[str]:
        reader = csv.DictReader(file, delimiter=self.separator, skipinitialspace=True, restval="", restkey="")
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        return reader


@dataclass(frozen=True)
class JsonLinesSource:
    """JSON lines: an object with the path of a recording on each; paths count from the file's folder."""

    path: Path

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every key but that of the paths, with the one type that all its values have, else as JSON text.

        All lines are read for it, because the results have the same columns from the first row to the last.
        """
        paths = path_column(self._kinds, self.path)
        return tuple(Column(name, kind or "string") for name, kind in self._kinds.items() if name != paths)

    def items(self) -> Iterator[Item]:
        """Yield the recording of each line."""
        columns, paths = self.columns, path_column(self._kinds, self.path)
        for row in self.marks():
            named = row.get(paths)
            carried = {column.name: self._as(column.kind, row.get(column.name)) for column in columns}
            yield item(named if isinstance(named, str) else None, self.path.parent, carried)

    @cached_property
    def _kinds(self) -> Mapping[str, str]:
        """The kind of every key's values, empty where all are null."""
        kinds: dict[str, str] = {}
        for row in self.marks():
            for name, value in row.items():
                kinds[name] = _joined(kinds.get(name, ""), _kind(value))
        return kinds

    def _as(self, kind: str, value: Any) -> Any:
        if value is None:
            return None
        if kind == "json":
            return json.dumps(value, ensure_ascii=False)
        if _joined(_kind(value), kind) != kind:
            raise BadRequest("batch_input_changed", path=str(self.path))
        return float(value) if kind == "double" else value

    def marks(self) -> Iterator[Mapping[str, Any]]:
        """Yield each object."""
        with _reading(self.path), self.path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise BadRequest("batch_line", path=str(self.path), line=number)
                    yield row


def item(path: str | None, folder: Path, carried: Mapping[str, object]) -> Item:
    """Return the item of a row that names a path, or the error of one that names none."""
    if not path or not path.strip():
        return Item("", BadRequest("batch_no_recording"), carried=carried)
    return Item(path, folder / path.strip(), carried=carried)


def path_column(names: Iterable[str], place: Path) -> str:
    """Return the name of the column that holds the paths. Raises BadRequest ("batch_columns")."""
    names = tuple(names)
    found = [name for wanted in PATHS for name in names if name.lower() == wanted]
    if not found:
        raise BadRequest("batch_columns", path=str(place), found=", ".join(names) or "-")
    return found[0]


def _kind(value: Any) -> str:
    """Return the kind of column that holds a value as it is; empty for null, which fits everywhere."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(2**63) <= value < 2**63 else "json"
    return {float: "double", str: "string"}.get(type(value), "json")


def _joined(one: str, other: str) -> str:
    """Return the kind that holds values of both."""
    if one == other or not one or not other:
        return one or other
    return "double" if {one, other} == {"int64", "double"} else "json"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a text file into BadRequest ("batch_unreadable")."""
    try:
        yield
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadRequest("batch_unreadable", path=str(path), reason=reason) from error

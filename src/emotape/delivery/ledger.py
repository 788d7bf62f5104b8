"""Which recordings an output folder already answers, so that a run can go on where another one stopped.

`manifest.jsonl` in the output folder gets one line per answered recording: `key`, `file`, `folders`. A line is
written after its result folders are complete, in one piece; what a kill cuts short is no line and counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.export.folder import DETAILS, PREFIX, RESULT
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME: Final = "manifest.jsonl"


def ledger_key(content: Path, asked: Mapping[str, object]) -> str | None:
    """Return a digest of a file's bytes and of all that was asked of it (options, model), or None if unreadable."""
    try:
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except (OSError, ValueError):  # a path with a NUL leads nowhere, too
        return None
    digest.update(json.dumps(asked, sort_keys=True).encode())
    return digest.hexdigest()


class Ledger:
    """The manifest of one output folder: what it held when it was opened, and a place to add lines."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._path = output / NAME
        self._folders = dict(_entries(self._path))

    def documents(self, key: str) -> list[dict[str, Any]] | None:
        """Return results and details of each folder recorded for `key`, or None if any is missing or damaged."""
        folders = self._folders.get(key)
        if not folders:
            return None
        try:
            return [_document(self._output / folder) for folder in folders]
        except (OSError, ValueError, TypeError):
            return None

    def add(self, key: str, file: str, folders: Sequence[Path]) -> None:
        """Record that `folders` answer `key`. Raises BadRequest ("output_unwritable")."""
        line = json.dumps({"key": key, "file": file, "folders": [folder.name for folder in folders]})
        try:
            _append(self._path, line)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadRequest("output_unwritable", path=str(self._path), reason=reason) from error


def _append(path: Path, line: str) -> None:
    """Add a line and see it onto the disk; a torn last line is closed first, so that it spoils only itself."""
    with path.open("ab+") as file:
        torn = file.seek(0, os.SEEK_END) > 0 and _last_byte(path) != b"\n"
        file.write(b"\n" * torn + line.encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _entries(path: Path) -> list[tuple[str, list[str]]]:
    """Return (key, folder names) of every whole line, oldest first."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadRequest("unreadable", path=str(path), reason=error.strerror or str(error)) from error
    return [entry for entry in map(_entry, lines) if entry is not None]


def _entry(line: bytes) -> tuple[str, list[str]] | None:
    try:
        found = json.loads(line)
        folders = [str(name) for name in found["folders"]]
        return (str(found["key"]), folders) if all(map(_is_folder_name, folders)) else None
    except (ValueError, KeyError, TypeError):
        return None


def _is_folder_name(name: str) -> bool:
    """Return whether `name` is one that `write_folder` gives, and so leads nowhere else."""
    return name.startswith(PREFIX) and Path(name).name == name


def _document(folder: Path) -> dict[str, Any]:
    result = json.loads((folder / RESULT).read_text("utf-8"))
    facts = json.loads((folder / DETAILS).read_text("utf-8"))
    return {**dict(result), "details": {**dict(facts), "folder": str(folder)}}

"""Files that are whole or not there, and one process at a time in a folder."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import filelock

from emotape.errors import BadRequest
from emotape.store.durable import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LOCK: Final = "_lock"
_PARTIAL: Final = ".partial"


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, bring it to the disk, and only then give it its own."""
    partial = path.with_name(f"_{path.name}{_PARTIAL}")
    with partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as a JSON file."""
    text = json.dumps(facts, ensure_ascii=False, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def remove_partial(folder: Path) -> None:
    """Remove what was cut short while it was written."""
    for path in folder.glob(f"_*{_PARTIAL}"):
        path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process. Raises BadRequest ("batch_busy")."""
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise BadRequest("batch_busy", path=str(folder)) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the system says while results are written into BadRequest ("output_unwritable")."""
    try:
        yield
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(place), reason=error.strerror or str(error)) from error

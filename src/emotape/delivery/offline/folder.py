"""The recordings under a folder, found while others are answered: no list of them is ever made."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emotape.delivery.folders import AUDIO
from emotape.delivery.offline.item import Column, Item
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class FolderSource:
    """Every audio file under `folder`, in the order in which the system lists them; hidden ones are passed over.

    `output`, where results are written, is not entered, nor are links to folders followed.
    """

    folder: Path
    output: Path

    @property
    def columns(self) -> tuple[Column, ...]:
        """A folder says nothing of its files."""
        return ()

    def marks(self) -> Iterator[Item]:
        """Walk once more."""
        return self.items()

    def items(self) -> Iterator[Item]:
        """Yield the files of one folder after another."""
        output = self.output.resolve()
        waiting = deque([self.folder])
        while waiting:
            folder = waiting.popleft()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            if Path(entry.path).resolve() != output:
                                waiting.append(Path(entry.path))
                        elif _is_audio(entry.name):
                            yield Item(entry.path, Path(entry.path))
            except OSError as error:
                yield Item(str(folder), BadRequest("unreadable", path=str(folder), reason=error.strerror or str(error)))


def holds_parquet(folder: Path) -> bool:
    """Return whether a folder is a Parquet dataset: it holds such files itself, and no recordings."""
    found = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "_")):
                continue
            if _is_audio(entry.name):
                return False
            found = found or entry.name.endswith(".parquet")
    return found


def _is_audio(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in AUDIO  # noqa: PTH122 - a path for each of millions is slow

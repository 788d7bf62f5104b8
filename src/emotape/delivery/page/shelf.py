"""Where results lie until they are downloaded: each in a place whose name nobody can guess."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PLACE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
ROOT: Final = "../page/results"  # as seen from a page


@dataclass(frozen=True)
class Shelf:
    """Folders below `root`, each of which is removed after `keep_seconds`; 0 keeps them as long as `root`."""

    root: Path
    keep_seconds: float

    def place(self) -> str:
        """Make a new place, to be removed when its time has come. To be called from the event loop."""
        name = secrets.token_urlsafe(16)
        self.folder(name).mkdir(parents=True)
        if self.keep_seconds:
            # in a context of its own: the caller's would keep its request in memory until then
            asyncio.get_running_loop().call_later(self.keep_seconds, self.clear, name, context=Context())
        return name

    def clear(self, place: str) -> None:
        """Remove a place and all that lies there."""
        shutil.rmtree(self.folder(place), ignore_errors=True)

    def folder(self, place: str) -> Path:
        """Return the folder of a place."""
        return self.root / place

    def address(self, place: str, name: str) -> str:
        """Return where a page finds a file of a place."""
        return f"{ROOT}/{place}/{name}"

    def find(self, place: str, name: str) -> Path | None:
        """Return the file called `name` of a place, or None; names lead nowhere else."""
        if not _PLACE.fullmatch(place):
            return None
        return next((path for path in self.folder(place).rglob("*") if path.name == name and path.is_file()), None)

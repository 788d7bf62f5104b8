"""Embeddings kept on disk, so that another head on the same recordings takes seconds and a broken run goes on."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from emotape.errors import BadRequest
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from emotape.audio.window import WindowOptions


@dataclass(frozen=True, eq=False)
class Embedded:
    """The embedding [D] of a recording, and how many seconds it lasts."""

    vector: NDArray[np.float32]
    seconds: float


def default_folder() -> Path:
    """Return where embeddings are kept unless told otherwise."""
    import platformdirs

    return platformdirs.user_cache_path("emotape", appauthor=False) / "adapting"


def shelf_name(digest: str, arithmetic: str, window: WindowOptions) -> str:
    """Return the name of what belongs together: embeddings by the same weights, arithmetic, version and windows."""
    meaning = json.dumps([digest, arithmetic, __version__, asdict(window)], sort_keys=True)
    return hashlib.sha256(meaning.encode()).hexdigest()[:32]


def audio_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file's bytes; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


class Shelf:
    """Embeddings by the digest of the file they were made from. One thread at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        """Open or make the shelf. Raises BadRequest "adapt_unwritable", as every method does."""
        self._path = folder / f"{name}.sqlite"
        with self._writable():
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=60, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS embeddings (audio TEXT PRIMARY KEY, seconds REAL, vector BLOB)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def find(self, audio: str) -> Embedded | None:
        """Return what is kept of a file with this digest."""
        with self._writable():
            row = self._database.execute("SELECT seconds, vector FROM embeddings WHERE audio = ?", (audio,)).fetchone()
        return None if row is None else Embedded(np.frombuffer(row[1], np.float32), row[0])

    def keep(self, audio: str, embedded: Embedded) -> None:
        """Keep an embedding; it outlives a crash from here on."""
        blob = embedded.vector.astype(np.float32).tobytes()
        with self._writable():
            self._database.execute(
                "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", (audio, embedded.seconds, blob)
            )

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BadRequest("adapt_unwritable", path=str(self._path), reason=reason) from error

"""What the store of jobs and the history need of a database, whichever it is: transactions, and rows by name.

A statement is written once, for both kinds: values stand at `?` or `:name`, and rows are read by the names of columns.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING, Any, Final, Protocol

from emotape.errors import EngineFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from emotape.errors import EmotapeError

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Row(Protocol):
    """One row; `dict(row)` has its columns."""

    def __getitem__(self, column: str, /) -> Any:
        """Return a column's value."""
        ...

    def keys(self) -> Iterable[str]:
        """Return the names of the columns."""
        ...


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield all rows that are left."""
        ...


class Connection(Protocol):
    """A connection within a transaction.

    Ends of a SELECT, empty where a transaction keeps all others out anyway:
    lock         the rows stay as they are until the transaction ends; others wait for them
    skip_locked  the same, without those that others have locked
    """

    lock: str
    skip_locked: str

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        """Run a statement."""
        ...

    def executemany(self, statement: str, values: Iterable[Sequence[Any] | Mapping[str, Any]], /) -> object:
        """Run a statement once for each of several values."""
        ...

    def alone(self) -> None:
        """Wait until no other transaction that called this is under way; keep others waiting until this one ends."""
        ...


class Database(Protocol):
    """A database, open; safe to use from any thread and by several processes.

    Every use may raise what its kind of database says; nothing of a transaction that raised has happened.
    """

    def change(self) -> AbstractContextManager[Connection]:
        """Give a connection within a transaction: all of it is durable afterwards, or nothing."""
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """Give a connection for reading one consistent state."""
        ...

    def shrink(self) -> None:
        """Give the room of deleted rows back, if that does not come by itself."""
        ...

    def close(self) -> None:
        """Let go of it; closing twice is fine."""
        ...


def storage_fault(error: sqlite3.Error | OSError, path: Path) -> EmotapeError:
    """Return what a failure of a local database or of a file beside it means."""
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in _NO_ROOM
    if full:
        return EngineFault("jobs_disk_full", path=str(path.parent))
    return EngineFault("jobs_store_unusable", path=str(path), reason=str(error))

"""One SQLite file for what must survive a crash: jobs, their results, calls to be made, and the history.

Every change is one transaction, and on the disk (write-ahead log, synchronous = FULL) when it returns. A newer program
brings an older file up to date.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

from emotape.errors import EngineFault
from emotape.store.database import storage_fault
from emotape.store.schema import STEPS, statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE: Final = 30.0  # seconds for which another process may hold the file


class SqliteConnection(sqlite3.Connection):
    """A connection whose transactions that change anything keep all others out from their beginning."""

    lock = ""
    skip_locked = ""

    def alone(self) -> None:
        """Do nothing: it is alone."""


class SqliteDatabase:
    """The file, open; safe to use from any thread, and by several processes of one machine.

    Raises EngineFault "jobs_store_unusable", "jobs_store_newer" or "jobs_disk_full", here and in every use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)  # what SQLite puts beside it has the same permissions
            self._connection = sqlite3.connect(
                path, _PATIENCE, isolation_level=None, check_same_thread=False, factory=SqliteConnection
            )
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def change(self) -> Iterator[SqliteConnection]:
        """Give the connection within a transaction: all of it is on the disk afterwards, or nothing."""
        with self._transaction("IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[SqliteConnection]:
        """Give the connection for reading one consistent state."""
        with self._transaction("DEFERRED") as connection:
            yield connection

    def shrink(self) -> None:
        """Give the room of deleted rows back to the disk."""
        with self._lock, self._translated():
            self._connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free a single page

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self, kind: Literal["IMMEDIATE", "DEFERRED"]) -> Iterator[SqliteConnection]:
        with self._lock, self._translated():
            self._connection.execute(f"BEGIN {kind}")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise storage_fault(error, self.path) from error

    def _prepare(self) -> None:
        with self._lock, self._translated():
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts for a new file only
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
        with self.change() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(STEPS):
                raise EngineFault("jobs_store_newer", path=str(self.path), version=version, known=len(STEPS))
            for step in STEPS[version:]:
                for statement in statements(step):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(STEPS)}")

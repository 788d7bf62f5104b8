"""One SQLite file for what must survive a crash: jobs, their results, calls to be made, and the history.

Every change is one transaction, and on the disk (write-ahead log, synchronous = FULL) when it returns. The schema has a
number, and a newer program brings an older file up to date.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

from emotape.errors import EngineFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.errors import EmotapeError

_PATIENCE: Final = 30.0  # seconds for which another process may hold the file
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_FIRST: Final = """
CREATE TABLE jobs (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    caller      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    options     TEXT NOT NULL,
    key         TEXT,
    fingerprint TEXT NOT NULL,
    folder      TEXT NOT NULL UNIQUE,
    bytes       INTEGER NOT NULL,
    answers     INTEGER NOT NULL DEFAULT 0,
    callback    TEXT,
    created     REAL NOT NULL,
    started     REAL,
    finished    REAL,
    served      INTEGER NOT NULL DEFAULT 0,
    UNIQUE (caller, key)
);
CREATE INDEX jobs_of_caller ON jobs (caller, number);
CREATE INDEX jobs_finished ON jobs (finished) WHERE finished IS NOT NULL;
CREATE INDEX jobs_in_turn ON jobs (served, number);

CREATE TABLE files (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    job      INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    place    INTEGER NOT NULL,
    name     TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    state    TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 0,
    owner    TEXT,
    started  REAL,
    finished REAL,
    UNIQUE (job, place),
    CHECK ((owner IS NOT NULL) = (state = 'running')),
    CHECK ((finished IS NOT NULL) = (state IN ('done', 'failed', 'cancelled')))
);
CREATE INDEX files_queued ON files (job, place) WHERE state = 'queued';
CREATE INDEX files_open ON files (job) WHERE finished IS NULL;
CREATE INDEX files_held ON files (owner) WHERE owner IS NOT NULL;

CREATE TABLE results (
    file   INTEGER PRIMARY KEY REFERENCES files (number) ON DELETE CASCADE,
    answer BLOB,
    error  TEXT,
    CHECK ((answer IS NULL) <> (error IS NULL))
);

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job    INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    kind   TEXT NOT NULL,
    facts  TEXT NOT NULL,
    time   REAL NOT NULL
);
CREATE INDEX events_of_job ON events (job, number);

CREATE TABLE callbacks (
    id       TEXT PRIMARY KEY,
    job      INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
    url      TEXT NOT NULL,
    body     TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due      REAL NOT NULL,
    problem  TEXT
);
CREATE INDEX callbacks_due ON callbacks (due) WHERE state = 'waiting';

CREATE TABLE history (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL,
    time        REAL NOT NULL,
    caller      TEXT NOT NULL,
    file        TEXT NOT NULL,
    seconds     REAL NOT NULL,
    emotion     TEXT,
    confidence  REAL NOT NULL,
    granularity TEXT NOT NULL,
    model       TEXT NOT NULL
);
CREATE INDEX history_of_caller ON history (caller, number);
CREATE INDEX history_time ON history (time);
"""
_STEPS: Final = (_FIRST,)
"""What leads from each version of the schema to the next; only ever added to."""


class Database:
    """The file, open; safe to use from any thread, and by several processes of one machine.

    Raises EngineFault "jobs_store_unusable", "jobs_store_newer" or "jobs_disk_full", here and in every use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)  # what SQLite puts beside it has the same permissions
            self._connection = sqlite3.connect(path, _PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within a transaction: all of it is on the disk afterwards, or nothing."""
        with self._transaction("IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
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
    def _transaction(self, kind: Literal["IMMEDIATE", "DEFERRED"]) -> Iterator[sqlite3.Connection]:
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
            if version > len(_STEPS):
                raise EngineFault("jobs_store_newer", path=str(self.path), version=version, known=len(_STEPS))
            for step in _STEPS[version:]:
                for statement in step.split(";\n"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(_STEPS)}")


def storage_fault(error: sqlite3.Error | OSError, path: Path) -> EmotapeError:
    """Return what a failure of the database or of a file beside it means."""
    full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in _NO_ROOM
    if full:
        return EngineFault("jobs_disk_full", path=str(path.parent))
    return EngineFault("jobs_store_unusable", path=str(path), reason=str(error))

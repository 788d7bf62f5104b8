"""Which finished jobs go, and when there is no room for a new one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from emotape.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.store.database import Connection
    from emotape.store.jobs.values import StoreOptions

AT_ONCE: Final = 500
"""How many jobs expire in one transaction."""
_AMPLE: Final = 0.9
_COUNT_SECONDS: Final = 2.0
_COME_AGAIN: Final = 60.0  # seconds after which unfinished jobs may have left some room


class Room:
    """What one process knows of the room that is left, so that not every new job has all others counted.

    For a while after a count, what comes is only added up, as long as a tenth of the room stays free for what others
    take meanwhile.
    """

    def __init__(self, options: StoreOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._stored = 0
        self._until = 0.0

    def take(self, connection: Connection, coming: int) -> list[str]:
        """Take room; return the folders of jobs that were deleted for it. Raises Overloaded "jobs_full"."""
        gone: list[str] = []
        if self._clock() >= self._until or self._stored + coming > _AMPLE * self._options.max_bytes:
            gone = make_room(connection, self._options, coming)
            self._stored, self._until = stored(connection, self._options), self._clock() + _COUNT_SECONDS
        self._stored += coming
        return gone


def expire(connection: Connection, before: float) -> list[str]:
    """Delete up to `AT_ONCE` jobs that ended before a time; return their folders."""
    rows = connection.execute(
        "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs"  # noqa: S608
        f" WHERE finished < ? ORDER BY finished LIMIT ?{connection.skip_locked}) RETURNING folder",
        (before, AT_ONCE),
    ).fetchall()
    return [row["folder"] for row in rows]


def shed(connection: Connection, options: StoreOptions, coming: int) -> list[str]:
    """Delete the oldest finished jobs until `coming` bytes fit in, as far as that goes; return their folders."""
    gone: list[str] = []
    connection.alone()
    while stored(connection, options) + coming > options.max_bytes:
        row = connection.execute(
            "DELETE FROM jobs WHERE number = (SELECT number FROM jobs WHERE finished IS NOT NULL"  # noqa: S608
            f" ORDER BY finished, number LIMIT 1{connection.skip_locked}) RETURNING folder"
        ).fetchone()
        if row is None:
            break
        gone.append(row["folder"])
    return gone


def make_room(connection: Connection, options: StoreOptions, coming: int) -> list[str]:
    """Like `shed`. Raises Overloaded "jobs_full" when that is not enough."""
    gone = shed(connection, options, coming)
    if stored(connection, options) + coming > options.max_bytes:
        raise Overloaded("jobs_full", retry_after=_COME_AGAIN, megabytes=options.max_bytes // 1024**2)
    return gone


def stored(connection: Connection, options: StoreOptions) -> int:
    """Return the bytes of all recordings that are still there, and of all answers."""
    recordings = "bytes" if options.keep_uploads else "CASE WHEN finished IS NULL THEN bytes ELSE 0 END"
    row = connection.execute(f"SELECT COALESCE(SUM({recordings} + answers), 0) AS total FROM jobs").fetchone()  # noqa: S608
    return int(row["total"])

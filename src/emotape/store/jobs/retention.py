"""Which finished jobs go, and when there is no room for a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emotape.errors import Overloaded

if TYPE_CHECKING:
    from sqlite3 import Connection

    from emotape.store.jobs.values import StoreOptions

_COME_AGAIN: Final = 60.0  # seconds after which unfinished jobs may have left some room


def expire(connection: Connection, before: float) -> list[str]:
    """Delete the jobs that ended before a time; return their folders."""
    rows = connection.execute("DELETE FROM jobs WHERE finished < ? RETURNING folder", (before,)).fetchall()
    return [row["folder"] for row in rows]


def shed(connection: Connection, options: StoreOptions, coming: int) -> list[str]:
    """Delete the oldest finished jobs until `coming` bytes fit in, as far as that goes; return their folders."""
    gone: list[str] = []
    while stored(connection, options) + coming > options.max_bytes:
        row = connection.execute(
            "DELETE FROM jobs WHERE number ="
            " (SELECT number FROM jobs WHERE finished IS NOT NULL ORDER BY finished, number LIMIT 1) RETURNING folder"
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
    (total,) = connection.execute(f"SELECT COALESCE(SUM({recordings} + answers), 0) FROM jobs").fetchone()  # noqa: S608
    return int(total)

"""Calls that finished jobs owe their callers' servers: kept until they are delivered or given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotape.store.jobs.values import Callback

if TYPE_CHECKING:
    from sqlite3 import Connection


def due(connection: Connection, now: float, count: int) -> list[Callback]:
    """Return calls whose time has come, the oldest first."""
    rows = connection.execute(
        "SELECT id, url, body, attempts, due FROM callbacks WHERE state = 'waiting' AND due <= ? ORDER BY due LIMIT ?",
        (now, count),
    )
    return [Callback(**dict(row)) for row in rows]


def next_due(connection: Connection) -> float | None:
    """Return when the next call is due, or None if none is owed."""
    (moment,) = connection.execute("SELECT MIN(due) FROM callbacks WHERE state = 'waiting'").fetchone()
    return None if moment is None else float(moment)


def delivered(connection: Connection, call: Callback) -> None:
    """Note that a call arrived."""
    connection.execute(
        "UPDATE callbacks SET state = 'delivered', attempts = attempts + 1, problem = NULL WHERE id = ?", (call.id,)
    )


def failed(connection: Connection, call: Callback, problem: str, again: float | None) -> None:
    """Note why a call failed, and when to try again (None: never)."""
    connection.execute(
        "UPDATE callbacks SET state = ?, attempts = attempts + 1, problem = ?, due = COALESCE(?, due) WHERE id = ?",
        ("given_up" if again is None else "waiting", problem, again, call.id),
    )

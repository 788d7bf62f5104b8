"""Calls that finished jobs owe their callers' servers: kept until they are delivered or given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotape.store.jobs.values import Callback

if TYPE_CHECKING:
    from emotape.store.database import Connection


def claim(connection: Connection, owner: str, now: float) -> Callback | None:
    """Take on the call that has been due longest: nobody else makes it until it is noted, or its owner is dead."""
    row = connection.execute(
        "UPDATE callbacks SET owner = ? WHERE id = (SELECT id FROM callbacks"  # noqa: S608
        f" WHERE state = 'waiting' AND owner IS NULL AND due <= ? ORDER BY due LIMIT 1{connection.skip_locked})"
        " RETURNING id, url, body, attempts, due",
        (owner, now),
    ).fetchone()
    return None if row is None else Callback(**dict(row))


def next_due(connection: Connection) -> float | None:
    """Return when the next call is due that nobody is making, or None if none is owed."""
    row = connection.execute(
        "SELECT MIN(due) AS due FROM callbacks WHERE state = 'waiting' AND owner IS NULL"
    ).fetchone()
    return None if row["due"] is None else float(row["due"])


def delivered(connection: Connection, call: Callback) -> None:
    """Note that a call arrived."""
    connection.execute(
        "UPDATE callbacks SET state = 'delivered', owner = NULL, attempts = attempts + 1, problem = NULL WHERE id = ?",
        (call.id,),
    )


def failed(connection: Connection, owner: str, call: Callback, problem: str, again: float | None) -> None:
    """Note why a call failed, and when to try again (None: never), unless somebody else has taken it on."""
    connection.execute(
        "UPDATE callbacks SET state = ?, owner = NULL, attempts = attempts + 1, problem = ?, due = COALESCE(?, due)"
        " WHERE id = ? AND owner = ?",
        ("given_up" if again is None else "waiting", problem, again, call.id, owner),
    )


def take_back(connection: Connection, owner: str) -> None:
    """Have others make the calls that an owner has taken on."""
    connection.execute("UPDATE callbacks SET owner = NULL WHERE owner = ?", (owner,))

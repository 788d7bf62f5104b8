"""Rows of the database as values, and what several changes need: events, and the end of a job."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from emotape.errors import NotFound
from emotape.store.jobs.values import FINAL, STATES, Event, FileResult, Job, error_of_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emotape.store.database import Connection, Row
    from emotape.store.jobs.values import State


def row_of(connection: Connection, caller: str, name: str) -> Row:
    """Return the row of a caller's job. Raises NotFound "job_unknown"."""
    row: Row | None = connection.execute("SELECT * FROM jobs WHERE id = ? AND caller = ?", (name, caller)).fetchone()
    if row is None:
        raise NotFound("job_unknown", job=name)
    return row


def job_of(connection: Connection, row: Row) -> Job:
    """Return the job of a row, its files counted."""
    counted = connection.execute(
        "SELECT state, COUNT(*) AS files FROM files WHERE job = ? GROUP BY state", (row["number"],)
    )
    counts: dict[State, int] = dict.fromkeys(STATES, 0) | {each["state"]: each["files"] for each in counted}
    return Job(
        row["id"],
        row["caller"],
        row["state"],
        json.loads(row["options"]),
        counts,
        row["bytes"],
        row["created"],
        row["started"],
        row["finished"],
    )


def result_of(row: Row) -> FileResult:
    """Return the result of a row of `files` joined with `results`."""
    error = None if row["error"] is None else error_of_text(row["error"])
    return FileResult(row["place"], row["name"], row["state"], row["finished"], row["answer"], error)


def event_of(row: Row) -> Event:
    """Return the event of a row."""
    return Event(row["number"], row["kind"], json.loads(row["facts"]), row["time"])


def hold(connection: Connection, names: Iterable[str]) -> None:
    """Keep others from changing jobs, their files included, until the transaction ends.

    Whoever changes files holds their job; several are taken in one order, so that nobody waits in a ring.
    """
    wanted = tuple(dict.fromkeys(names))
    marks = ", ".join("?" * len(wanted))
    if wanted:
        connection.execute(
            f"SELECT number FROM jobs WHERE id IN ({marks}) ORDER BY number{connection.lock}",  # noqa: S608
            wanted,
        ).fetchall()


def tell_event(connection: Connection, job: int, kind: str, facts: Mapping[str, Any], now: float) -> None:
    """Add an event to a job's story."""
    connection.execute(
        "INSERT INTO events (job, kind, facts, time) VALUES (?, ?, ?, ?)", (job, kind, json.dumps(facts), now)
    )


def enter_state(connection: Connection, number: int, state: State, now: float) -> None:
    """Put a job into a state it is not in yet, tell of it, and queue the call to its caller's server at its end."""
    column = "finished" if state in FINAL else "started"
    changed = connection.execute(
        f"UPDATE jobs SET {column} = :now, state = :state WHERE number = :number AND state <> :state",  # noqa: S608
        {"state": state, "number": number, "now": now},
    )
    if not changed.rowcount:
        return
    row = connection.execute("SELECT * FROM jobs WHERE number = ?", (number,)).fetchone()
    job = job_of(connection, row)
    tell_event(connection, number, "job", {"state": state, "counts": job.counts}, now)
    if job.is_final and row["callback"] is not None:
        body = {"type": f"job.{state}", "timestamp": now, "data": {"id": job.id, "state": state, "counts": job.counts}}
        connection.execute(
            "INSERT INTO callbacks (id, job, url, body, due) VALUES (?, ?, ?, ?, ?)",
            (f"msg_{secrets.token_hex(12)}", number, row["callback"], json.dumps(body), now),
        )


def settle(connection: Connection, number: int, now: float) -> None:
    """End a job whose files have all ended: done if any has an answer, else failed."""
    if connection.execute("SELECT 1 FROM files WHERE job = ? AND finished IS NULL", (number,)).fetchone() is None:
        done = connection.execute("SELECT 1 FROM files WHERE job = ? AND state = 'done'", (number,)).fetchone()
        enter_state(connection, number, "failed" if done is None else "done", now)

"""Who runs which recording: claimed, finished once, released, and taken back from a process that died."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from emotape.errors import EngineFault
from emotape.store.jobs.rows import enter_state, hold, settle, tell_event
from emotape.store.jobs.values import Claim, Outcome, error_as_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from emotape.store.database import Connection, Row
    from emotape.store.jobs.values import State

_JOB = """
SELECT number FROM jobs WHERE finished IS NULL
AND EXISTS (SELECT 1 FROM files WHERE job = jobs.number AND files.state = 'queued' AND files.bytes < ?)
ORDER BY served, number LIMIT 1
"""
_FILE = """
SELECT files.*, jobs.id, jobs.folder, jobs.options, jobs.caller, jobs.created FROM files JOIN jobs ON jobs.number = job
WHERE job = ? AND files.state = 'queued' AND files.bytes < ? ORDER BY place LIMIT 1
"""
_STILL_HELD = "number = ? AND state = 'running' AND owner = ? AND attempts = ?"


def claim(connection: Connection, owner: str, smaller_than: int | None, now: float) -> Row | None:
    """Take on the next recording, the jobs taking turns so that a long one does not hold up a short one.

    Returns its row of `files`, with what the claim needs of its job.
    """
    row = _next(connection, 2**62 if smaller_than is None else smaller_than)
    if row is None:
        return None
    connection.execute(
        "UPDATE files SET state = 'running', owner = ?, attempts = attempts + 1, started = ? WHERE number = ?",
        (owner, now, row["number"]),
    )
    turn = "UPDATE jobs SET served = 1 + (SELECT MAX(served) FROM jobs WHERE finished IS NULL) WHERE number = ?"
    connection.execute(turn, (row["job"],))
    enter_state(connection, row["job"], "running", now)
    _tell_file(connection, row, "running", None, now)
    return row


def claim_of(row: Row, path: Path) -> Claim:
    """Return the claim of a row that `claim` gave, with its recording at `path`."""
    return Claim(
        row["number"],
        row["attempts"] + 1,
        row["id"],
        row["caller"],
        row["place"],
        row["name"],
        row["bytes"],
        path,
        json.loads(row["options"]),
        row["created"],
    )


def _next(connection: Connection, limit: int) -> Row | None:
    """Return a queued recording, its job held: rather of a job that nobody else holds, else of one to wait for."""
    for lock in (connection.skip_locked, connection.lock):
        while job := connection.execute(_JOB + lock, (limit,)).fetchone():
            row: Row | None = connection.execute(_FILE, (job["number"], limit)).fetchone()
            if row is not None:
                return row
    return None


def finish(connection: Connection, owner: str, outcomes: Sequence[Outcome], now: float) -> list[int]:
    """Write the outcomes of recordings that are still held, each once; return the numbers of their jobs."""
    jobs = []
    hold(connection, [outcome.claim.job for outcome in outcomes])
    for outcome in outcomes:
        held = outcome.claim
        state: State = "failed" if outcome.answer is None else "done"
        row = connection.execute(
            f"UPDATE files SET state = ?, owner = NULL, finished = ? WHERE {_STILL_HELD} RETURNING *",  # noqa: S608
            (state, now, held.number, owner, held.attempt),
        ).fetchone()
        if row is not None:
            _write_result(connection, row, outcome, now)
            jobs.append(row["job"])
    jobs = list(dict.fromkeys(jobs))
    for job in jobs:
        settle(connection, job, now)
    return jobs


def release(connection: Connection, owner: str, claims: Iterable[Claim], *, were_run: bool) -> None:
    """Put recordings that are still held back into the queue; unless they were run, as if nobody had claimed them."""
    claims = list(claims)
    hold(connection, [held.job for held in claims])
    connection.executemany(
        "UPDATE files SET state = 'queued', owner = NULL, started = NULL, attempts = attempts - ?"  # noqa: S608
        f" WHERE {_STILL_HELD}",
        [(int(not were_run), held.number, owner, held.attempt) for held in claims],
    )


def withdrawn(connection: Connection, owner: str, claims: Iterable[Claim]) -> list[Claim]:
    """Return those claims that hold no more: the job was cancelled or deleted."""
    return [
        held
        for held in claims
        if connection.execute(
            f"SELECT 1 FROM files WHERE {_STILL_HELD}",  # noqa: S608
            (held.number, owner, held.attempt),
        ).fetchone()
        is None
    ]


def owners(connection: Connection) -> list[str]:
    """Return every owner that holds a recording or a call."""
    rows = connection.execute(
        "SELECT owner FROM files WHERE owner IS NOT NULL UNION SELECT owner FROM callbacks WHERE owner IS NOT NULL"
    )
    return [row["owner"] for row in rows]


def put_back(connection: Connection, owner: str, known: Collection[int]) -> None:
    """Queue again what an owner holds without knowing it: the end of its claim was lost on the way."""
    _hold_all_of(connection, owner)
    rows = connection.execute("SELECT number FROM files WHERE owner = ?", (owner,)).fetchall()
    connection.executemany(
        "UPDATE files SET state = 'queued', owner = NULL, started = NULL, attempts = attempts - 1 WHERE number = ?",
        [(row["number"],) for row in rows if row["number"] not in known],
    )


def take_back(connection: Connection, dead: str, attempts: int, now: float) -> None:
    """Queue again what a dead owner held; give up on a recording that was there at `attempts` deaths."""
    _hold_all_of(connection, dead)
    rows = connection.execute(
        "UPDATE files SET state = 'failed', owner = NULL, finished = ? WHERE owner = ? AND attempts >= ? RETURNING *",
        (now, dead, attempts),
    ).fetchall()
    for row in rows:
        error = EngineFault("job_file_abandoned", attempts=row["attempts"])
        connection.execute("INSERT INTO results (file, error) VALUES (?, ?)", (row["number"], error_as_text(error)))
        _tell_file(connection, row, "failed", error.code, now)
    connection.execute("UPDATE files SET state = 'queued', owner = NULL, started = NULL WHERE owner = ?", (dead,))
    for job in {row["job"] for row in rows}:
        settle(connection, job, now)


def _hold_all_of(connection: Connection, owner: str) -> None:
    jobs = connection.execute("SELECT jobs.id FROM files JOIN jobs ON jobs.number = job WHERE owner = ?", (owner,))
    hold(connection, [row["id"] for row in jobs.fetchall()])


def _write_result(connection: Connection, row: Row, outcome: Outcome, now: float) -> None:
    error = None
    if outcome.answer is None:
        error = outcome.error or EngineFault("job_file_abandoned", attempts=row["attempts"])
    connection.execute(
        "INSERT INTO results (file, answer, error) VALUES (?, ?, ?)",
        (row["number"], outcome.answer, None if error is None else error_as_text(error)),
    )
    connection.execute(
        "UPDATE jobs SET answers = answers + ? WHERE number = ?", (len(outcome.answer or b""), row["job"])
    )
    _tell_file(connection, row, row["state"], None if error is None else error.code, now)


def _tell_file(connection: Connection, row: Row, state: State, code: str | None, now: float) -> None:
    facts = {"file": row["place"], "name": row["name"], "state": state}
    tell_event(connection, row["job"], "file", facts | ({} if code is None else {"error": code}), now)

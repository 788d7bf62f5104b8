"""How a job comes in: its rows are written, or the job that has its key is found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotape.errors import BadRequest, Conflict
from emotape.store.jobs.rows import job_of, row_of, tell_event
from emotape.store.jobs.uploads import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.store.database import Connection, Row
    from emotape.store.jobs.retention import Room
    from emotape.store.jobs.uploads import Written
    from emotape.store.jobs.values import Job, Submission


@dataclass(frozen=True)
class Coming:
    """A job that may be accepted, with its recordings, which are kept already."""

    submission: Submission
    name: str
    folder: str
    written: Sequence[Written]
    options: str
    mark: str
    now: float

    @property
    def bytes(self) -> int:
        """The bytes of all recordings."""
        return sum(file.bytes for file in self.written)


def coming(submission: Submission, name: str, folder: str, written: Sequence[Written], now: float) -> Coming:
    """Return what may be accepted. Raises BadRequest "job_without_files"."""
    if not written:
        raise BadRequest("job_without_files")
    options = json.dumps(submission.options, sort_keys=True)
    mark = fingerprint(json.dumps([options, submission.callback]), written)
    return Coming(submission, name, folder, written, options, mark, now)


def enter(connection: Connection, wanted: Coming, room: Room) -> tuple[Job, bool, list[str]]:
    """Accept a job, or find the one that has its key; return it, whether it is new, and the folders of jobs that went.

    Raises Conflict "job_key_reused" and Overloaded "jobs_full".
    """
    gone: list[str] = []
    known = _with_key(connection, wanted)
    if known is None:
        gone = room.take(connection, wanted.bytes)
        while known is None and not _insert(connection, wanted):
            known = _with_key(connection, wanted)  # another came first; it may be gone again by now
    name = wanted.name if known is None else known["id"]
    return job_of(connection, row_of(connection, wanted.submission.caller, name)), known is None, gone


def _with_key(connection: Connection, wanted: Coming) -> Row | None:
    asked = wanted.submission
    statement = "SELECT * FROM jobs WHERE caller = ? AND key = ?"
    row: Row | None = connection.execute(statement, (asked.caller, asked.key)).fetchone()
    if row is not None and row["fingerprint"] != wanted.mark:
        raise Conflict("job_key_reused", key=asked.key, job=row["id"])
    return row


def _insert(connection: Connection, wanted: Coming) -> bool:
    """Write the rows of a job; return False if one with its key is there."""
    asked = wanted.submission
    row = {"id": wanted.name, "caller": asked.caller, "state": "queued", "options": wanted.options, "key": asked.key}
    row |= {"fingerprint": wanted.mark, "folder": wanted.folder, "callback": asked.callback}
    values = {**row, "bytes": wanted.bytes, "created": wanted.now}
    inserted = connection.execute(
        f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"  # noqa: S608
        " ON CONFLICT (caller, key) DO NOTHING RETURNING number",
        values,
    ).fetchone()
    if inserted is None:
        return False
    connection.executemany(
        "INSERT INTO files (job, place, name, bytes) VALUES (?, ?, ?, ?)",
        [(inserted["number"], place, file.name, file.bytes) for place, file in enumerate(wanted.written)],
    )
    facts = {"state": "queued", "counts": {"queued": len(wanted.written)}}
    tell_event(connection, inserted["number"], "job", facts, wanted.now)
    return True

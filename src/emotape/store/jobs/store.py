"""The jobs of all callers: accepted durably, listed, followed, cancelled, deleted, and kept within bounds."""

from __future__ import annotations

import json
import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from emotape.errors import BadRequest, Conflict, EngineFault, NotFound
from emotape.store.database import storage_fault
from emotape.store.jobs import callbacks, retention, work
from emotape.store.jobs.rows import enter_state, event_of, job_of, result_of, tell_event
from emotape.store.jobs.uploads import Owner, Uploads, fingerprint
from emotape.store.jobs.values import FINAL, Event, FileResult, Job, StoreOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from sqlite3 import Connection, Row

    from emotape.store.database import Database
    from emotape.store.jobs.uploads import Written
    from emotape.store.jobs.values import Callback, Claim, Outcome, Submission, Upload

EVENTS: Final = 1000
"""How many events are read at once."""


class JobStore:
    """Jobs in one folder: `database` beside their recordings. Safe to use from any thread and by several processes.

    Call `recover` before work begins. Listeners hear the id of each job that changed, in the thread that changed
    it; they must not raise. Every method may raise EngineFault "jobs_disk_full" or "jobs_store_unusable".
    """

    def __init__(
        self, database: Database, options: StoreOptions | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        folder = database.path.parent
        self.options = options or StoreOptions()
        self._database = database
        self._clock = clock
        try:
            self._owner = Owner(folder)
            self._uploads = Uploads(folder, self._owner)
        except OSError as error:
            raise storage_fault(error, folder) from error
        self._listening = threading.Lock()
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(job id)` after each change of a job, until the returned function is called."""
        with self._listening:
            self._listeners = [*self._listeners, listener]

        def stop() -> None:
            with self._listening:
                self._listeners = [other for other in self._listeners if other is not listener]

        return stop

    def accept(self, submission: Submission, uploads: Iterable[Upload]) -> tuple[Job, bool]:
        """Take on a job once its recordings are on the disk; return it, and whether it is new.

        Raises BadRequest "job_without_files", Conflict "job_key_reused" and Overloaded "jobs_full".
        """
        name = secrets.token_hex(12)
        folder = self._uploads.folder_for(name)
        written = self._uploads.write(folder, uploads)
        try:
            job, is_new, gone = self._enter(submission, name, folder, written)
        except BaseException:
            self._uploads.remove(folder)
            raise
        if not is_new:
            self._uploads.remove(folder)
        self._forget(gone)
        self._tell(job.id)
        return job, is_new

    def job(self, caller: str, name: str) -> Job:
        """Return a job of the caller. Raises NotFound "job_unknown"."""
        with self._database.read() as connection:
            return job_of(connection, _row(connection, caller, name))

    def jobs(self, caller: str, limit: int, before: str | None = None) -> list[Job]:
        """Return the caller's jobs, the newest first; `before` is the id of the last one already seen."""
        with self._database.read() as connection:
            number = 2**62 if before is None else _row(connection, caller, before)["number"]
            rows = connection.execute(
                "SELECT * FROM jobs WHERE caller = ? AND number < ? ORDER BY number DESC LIMIT ?",
                (caller, number, limit),
            ).fetchall()
            return [job_of(connection, row) for row in rows]

    def results(self, caller: str, name: str) -> Iterator[FileResult]:
        """Yield the finished recordings of a job, in their order, holding one at a time in memory."""
        with self._database.read() as connection:
            number = _row(connection, caller, name)["number"]
        place: int | None = -1
        while place is not None:
            with self._database.read() as connection:
                row = connection.execute(
                    "SELECT files.*, answer, error FROM files LEFT JOIN results ON file = number"
                    " WHERE job = ? AND place > ? AND finished IS NOT NULL ORDER BY place LIMIT 1",
                    (number, place),
                ).fetchone()
            place = None if row is None else row["place"]
            if row is not None:
                yield result_of(row)

    def events(self, name: str, after: int = 0, limit: int = EVENTS) -> list[Event]:
        """Return what happened to a job after the event numbered `after`; nothing for a job that is gone."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT events.* FROM events JOIN jobs ON jobs.number = job"
                " WHERE jobs.id = ? AND events.number > ? ORDER BY events.number LIMIT ?",
                (name, after, limit),
            )
            return [event_of(row) for row in rows]

    def cancel(self, caller: str, name: str) -> Job:
        """End a job that is not finished; what is finished of it stays. A finished job is left as it is."""
        now = self._clock()
        with self._database.change() as connection:
            row = _row(connection, caller, name)
            if row["state"] not in FINAL:
                _cancel_files(connection, row["number"], now)
                enter_state(connection, row["number"], "cancelled", now)
            job = job_of(connection, _row(connection, caller, name))
        self._ended([row["folder"]])
        self._tell(name)
        return job

    def delete(self, caller: str, name: str) -> None:
        """Forget a job and everything of it, whatever its state."""
        with self._database.change() as connection:
            row = _row(connection, caller, name)
            connection.execute("DELETE FROM jobs WHERE number = ?", (row["number"],))
        self._uploads.remove(row["folder"])
        self._tell(name)

    def claim(self, smaller_than: int | None = None) -> Claim | None:
        """Take on the next queued recording (of fewer bytes than `smaller_than`), or return None."""
        with self._database.change() as connection:
            found = work.claim(connection, self._uploads, self._owner.name, smaller_than, self._clock())
        if found is not None:
            self._tell(found.job)
        return found

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes in one transaction; those of claims that hold no more are dropped."""
        with self._database.change() as connection:
            jobs = work.finish(connection, self._owner.name, outcomes, self._clock())
            rows = [connection.execute("SELECT * FROM jobs WHERE number = ?", (job,)).fetchone() for job in jobs]
        self._ended([row["folder"] for row in rows if row["state"] in FINAL])
        for row in rows:
            self._tell(row["id"])

    def release(self, claims: Sequence[Claim], *, were_run: bool = False) -> None:
        """Put claimed recordings back into the queue; if they were run, the attempt counts."""
        with self._database.change() as connection:
            work.release(connection, self._owner.name, claims, were_run=were_run)

    def withdrawn(self, claims: Iterable[Claim]) -> list[Claim]:
        """Return those claims whose job was cancelled or deleted meanwhile."""
        with self._database.read() as connection:
            return work.withdrawn(connection, self._owner.name, claims)

    def recover(self) -> None:
        """Queue again what dead processes were running, and remove what they left of uploads."""
        with self._database.read() as connection:
            dead = [owner for owner in work.owners(connection) if self._owner.is_dead(owner)]
        for owner in dead:
            with self._database.change() as connection:
                work.take_back(connection, owner, self.options.attempts, self._clock())
        orphans = self._uploads.orphans()  # first: an owner that is dead by now commits no job any more
        with self._database.read() as connection:
            kept = {row["folder"] for row in connection.execute("SELECT folder FROM jobs")}
            over = [row["folder"] for row in connection.execute("SELECT folder FROM jobs WHERE finished IS NOT NULL")]
        for folder in orphans:
            if folder not in kept:
                self._uploads.remove(folder)
        self._ended(over)

    def retain(self) -> None:
        """Delete finished jobs that are too old, and the oldest ones while all of them together are too large."""
        with self._database.change() as connection:
            gone = retention.expire(connection, self._clock() - self.options.keep_seconds)
            gone += retention.shed(connection, self.options, 0)
        self._forget(gone)

    def due_callbacks(self, count: int) -> list[Callback]:
        """Return calls that are to be made now."""
        with self._database.read() as connection:
            return callbacks.due(connection, self._clock(), count)

    def next_callback(self) -> float | None:
        """Return in how many seconds the next call is due, or None."""
        with self._database.read() as connection:
            moment = callbacks.next_due(connection)
        return None if moment is None else max(0.0, moment - self._clock())

    def callback_delivered(self, call: Callback) -> None:
        """Note that a call arrived."""
        with self._database.change() as connection:
            callbacks.delivered(connection, call)

    def callback_failed(self, call: Callback, problem: str, wait: float | None) -> None:
        """Note that a call failed, and in how many seconds to try again (None: never)."""
        with self._database.change() as connection:
            callbacks.failed(connection, call, problem, None if wait is None else self._clock() + wait)

    def close(self) -> None:
        """Let others have what this process still holds."""
        self._owner.leave()

    def _enter(
        self, submission: Submission, name: str, folder: str, written: list[Written]
    ) -> tuple[Job, bool, list[str]]:
        """Write the rows of a job, or find the one that has its key; say also which folders lost their job for it."""
        if not written:
            raise BadRequest("job_without_files")
        options = json.dumps(submission.options, sort_keys=True)
        mark = fingerprint(json.dumps([options, submission.callback]), written)
        now = self._clock()
        gone: list[str] = []
        with self._database.change() as connection:
            known = _with_key(connection, submission)
            if known is not None and known["fingerprint"] != mark:
                raise Conflict("job_key_reused", key=submission.key, job=known["id"])
            if known is None:
                size = sum(file.bytes for file in written)
                gone = retention.make_room(connection, self.options, size)
                row: dict[str, Any] = {"id": name, "caller": submission.caller, "state": "queued", "options": options}
                row |= {"key": submission.key, "fingerprint": mark, "folder": folder, "bytes": size}
                row |= {"callback": submission.callback, "created": now}
                _insert(connection, row, written, now)
            job = job_of(connection, _row(connection, submission.caller, name if known is None else known["id"]))
        return job, known is None, gone

    def _forget(self, folders: Sequence[str]) -> None:
        for folder in folders:
            self._uploads.remove(folder)
        if folders:
            with suppress(EngineFault):  # the room is used again, or given back another time
                self._database.shrink()

    def _ended(self, folders: Sequence[str]) -> None:
        if not self.options.keep_uploads:
            for folder in folders:
                self._uploads.remove(folder)

    def _tell(self, job: str) -> None:
        for listener in self._listeners:
            listener(job)


def _row(connection: Connection, caller: str, name: str) -> Row:
    row: Row | None = connection.execute("SELECT * FROM jobs WHERE id = ? AND caller = ?", (name, caller)).fetchone()
    if row is None:
        raise NotFound("job_unknown", job=name)
    return row


def _with_key(connection: Connection, submission: Submission) -> Row | None:
    row: Row | None = connection.execute(
        "SELECT * FROM jobs WHERE caller = ? AND key = ?", (submission.caller, submission.key)
    ).fetchone()
    return row


def _insert(connection: Connection, row: dict[str, Any], written: Sequence[Written], now: float) -> None:
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    job = connection.execute(f"INSERT INTO jobs ({names}) VALUES ({values})", row).lastrowid  # noqa: S608 - ours
    connection.executemany(
        "INSERT INTO files (job, place, name, bytes) VALUES (?, ?, ?, ?)",
        [(job, place, file.name, file.bytes) for place, file in enumerate(written)],
    )
    assert job is not None  # noqa: S101 - an insert has a row
    tell_event(connection, job, "job", {"state": "queued", "counts": {"queued": len(written)}}, now)


def _cancel_files(connection: Connection, job: int, now: float) -> None:
    connection.execute(
        "UPDATE files SET state = 'cancelled', owner = NULL, finished = ? WHERE job = ? AND finished IS NULL",
        (now, job),
    )

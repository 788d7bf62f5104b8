"""The jobs of all callers: accepted durably, listed, followed, cancelled, deleted, and kept within bounds."""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from emotape.errors import EmotapeError
from emotape.store.jobs import acceptance, callbacks, retention, work
from emotape.store.jobs.listeners import Listeners
from emotape.store.jobs.rows import enter_state, event_of, hold, job_of, result_of, row_of
from emotape.store.jobs.values import FINAL, Event, FileResult, Job, StoreOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from emotape.store.database import Connection
    from emotape.store.jobs.backing import Backing
    from emotape.store.jobs.values import Callback, Claim, Outcome, Submission, Upload

EVENTS: Final = 1000
"""How many events are read at once."""


class JobStore:
    """Jobs in what `backing` gives. Safe to use from any thread and by several processes.

    Call `recover` before work begins. Every method may raise EngineFault "jobs_disk_full" or "jobs_store_unusable", or
    what the shared database says of itself.
    """

    def __init__(
        self, backing: Backing, options: StoreOptions | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.options = options or StoreOptions()
        self._database = backing.database
        self._member = backing.member
        self._uploads = backing.uploads
        self._clock = clock
        self._room = retention.Room(self.options)
        self._listeners = Listeners()
        self._claiming = threading.Lock()
        self._held: set[int] = set()  # numbers of the recordings that this process knows to hold
        self._member.hear(self._listeners.tell)

    def listen(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(job id)` after each change of a job, until the returned function is called.

        It is called in the thread that made the change. Where others can be heard it is also called for theirs, in a
        thread of its own. The id "" stands for any job. It must not raise, nor use this store.
        """
        return self._listeners.add(listener)

    def accept(self, submission: Submission, uploads: Iterable[Upload]) -> tuple[Job, bool]:
        """Take on a job once its recordings are durable; return it, and whether it is new.

        Raises BadRequest "job_without_files", Conflict "job_key_reused" and Overloaded "jobs_full".
        """
        name = secrets.token_hex(12)
        folder = self._uploads.folder_for(name)
        written = self._uploads.write(folder, uploads)
        try:
            coming = acceptance.coming(submission, name, folder, written, self._clock())
            with self._database.change() as connection:
                job, is_new, gone = acceptance.enter(connection, coming, self._room)
                if is_new:
                    self._uploads.confirm(connection, folder)
        except BaseException:
            self._uploads.abandon(folder)
            raise
        if not is_new:
            self._uploads.abandon(folder)
        self._forget(gone)
        self._tell(job.id)
        return job, is_new

    def job(self, caller: str, name: str) -> Job:
        """Return a job of the caller. Raises NotFound "job_unknown"."""
        with self._database.read() as connection:
            return job_of(connection, row_of(connection, caller, name))

    def jobs(self, caller: str, limit: int, before: str | None = None) -> list[Job]:
        """Return the caller's jobs, the newest first; `before` is the id of the last one already seen."""
        with self._database.read() as connection:
            number = 2**62 if before is None else row_of(connection, caller, before)["number"]
            rows = connection.execute(
                "SELECT * FROM jobs WHERE caller = ? AND number < ? ORDER BY number DESC LIMIT ?",
                (caller, number, limit),
            ).fetchall()
            return [job_of(connection, row) for row in rows]

    def results(self, caller: str, name: str) -> Iterator[FileResult]:
        """Yield the finished recordings of a job, in their order, holding one at a time in memory."""
        with self._database.read() as connection:
            number = row_of(connection, caller, name)["number"]
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
            hold(connection, [name])
            row = row_of(connection, caller, name)
            if row["state"] not in FINAL:
                _cancel_files(connection, row["number"], now)
                enter_state(connection, row["number"], "cancelled", now)
            job = job_of(connection, row_of(connection, caller, name))
        self._ended([row["folder"]])
        self._tell(name)
        return job

    def delete(self, caller: str, name: str) -> None:
        """Forget a job and everything of it, whatever its state."""
        with self._database.change() as connection:
            hold(connection, [name])
            row = row_of(connection, caller, name)
            connection.execute("DELETE FROM jobs WHERE number = ?", (row["number"],))
        self._uploads.remove(row["folder"])
        self._tell(name)

    def claim(self, smaller_than: int | None = None) -> Claim | None:
        """Take on the next queued recording (of fewer bytes than `smaller_than`), or return None."""
        self._member.check()
        with self._claiming:
            with self._database.change() as connection:
                row = work.claim(connection, self._member.name, smaller_than, self._clock())
            if row is None:
                return None
            self._held.add(row["number"])
        try:
            path = self._uploads.fetch(row["folder"], row["place"], row["bytes"])
        except BaseException:
            self._held.discard(row["number"])
            with suppress(EmotapeError):  # else `recover` does it
                self._put_back()
            raise
        self._tell(row["id"])
        return work.claim_of(row, path)

    def finish(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes in one transaction; those of claims that hold no more are dropped."""
        with self._database.change() as connection:
            jobs = work.finish(connection, self._member.name, outcomes, self._clock())
            rows = [connection.execute("SELECT * FROM jobs WHERE number = ?", (job,)).fetchone() for job in jobs]
        self._let_go([outcome.claim for outcome in outcomes])
        self._ended([row["folder"] for row in rows if row["state"] in FINAL])
        for row in rows:
            self._tell(row["id"])

    def release(self, claims: Sequence[Claim], *, were_run: bool = False) -> None:
        """Put claimed recordings back into the queue; if they were run, the attempt counts."""
        with self._database.change() as connection:
            work.release(connection, self._member.name, claims, were_run=were_run)
        self._let_go(claims)
        for job in {claim.job for claim in claims}:
            self._member.tell(job)

    def withdrawn(self, claims: Iterable[Claim]) -> list[Claim]:
        """Return those claims that hold no more: the job was cancelled or deleted, or others took it on."""
        with self._database.read() as connection:
            gone = work.withdrawn(connection, self._member.name, claims)
        self._let_go(gone)
        return gone

    def recover(self) -> None:
        """Queue again what dead processes were running, and remove what they left of uploads."""
        with self._database.read() as connection:
            owners = work.owners(connection)
        for owner in owners:
            if owner == self._member.name:
                self._put_back()
                continue
            with self._database.change() as connection:
                is_dead = self._member.is_dead(connection, owner)
                if is_dead:
                    work.take_back(connection, owner, self.options.attempts, self._clock())
                    callbacks.take_back(connection, owner)
            if is_dead:
                self._listeners.tell("")
        self._uploads.sweep(keep_finished=self.options.keep_uploads)

    def retain(self) -> None:
        """Delete finished jobs that are too old, and the oldest ones while all of them together are too large."""
        before = self._clock() - self.options.keep_seconds
        gone: list[str] = []
        is_more = True
        while is_more:
            with self._database.change() as connection:
                expired = retention.expire(connection, before)
            gone += expired
            is_more = len(expired) == retention.AT_ONCE
        with self._database.change() as connection:
            gone += retention.shed(connection, self.options, 0)
        self._forget(gone)

    def claim_callback(self) -> Callback | None:
        """Take on a call that is to be made now; nobody else makes it until it is noted how it went."""
        self._member.check()
        with self._database.change() as connection:
            return callbacks.claim(connection, self._member.name, self._clock())

    def next_callback(self) -> float | None:
        """Return in how many seconds the next call is due that nobody is making, or None."""
        with self._database.read() as connection:
            moment = callbacks.next_due(connection)
        return None if moment is None else max(0.0, moment - self._clock())

    def callback_delivered(self, call: Callback) -> None:
        """Note that a call arrived."""
        with self._database.change() as connection:
            callbacks.delivered(connection, call)

    def callback_failed(self, call: Callback, problem: str, wait: float | None) -> None:
        """Note that a call failed, and in how many seconds to try again (None: never)."""
        again = None if wait is None else self._clock() + wait
        with self._database.change() as connection:
            callbacks.failed(connection, self._member.name, call, problem, again)

    def close(self) -> None:
        """Let others have what this process still holds."""
        self._member.leave()
        self._uploads.close()

    def _put_back(self) -> None:
        with self._claiming, self._database.change() as connection:
            work.put_back(connection, self._member.name, self._held)

    def _let_go(self, claims: Iterable[Claim]) -> None:
        for claim in claims:
            self._held.discard(claim.number)
            self._uploads.discard(claim.path)

    def _forget(self, folders: Sequence[str]) -> None:
        for folder in folders:
            self._uploads.remove(folder)
        if folders:
            with suppress(EmotapeError):  # the room is used again, or given back another time
                self._database.shrink()

    def _ended(self, folders: Sequence[str]) -> None:
        if not self.options.keep_uploads:
            for folder in folders:
                self._uploads.remove(folder)

    def _tell(self, job: str) -> None:
        self._listeners.tell(job)
        self._member.tell(job)


def _cancel_files(connection: Connection, job: int, now: float) -> None:
    connection.execute(
        "UPDATE files SET state = 'cancelled', owner = NULL, finished = ? WHERE job = ? AND finished IS NULL",
        (now, job),
    )

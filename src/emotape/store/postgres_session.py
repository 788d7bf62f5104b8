"""The one session that stands for this process among those that share a PostgreSQL database.

It holds an advisory lock under the process's name, which the server lets go of when the process or its machine is gone;
it hears and tells which jobs changed (LISTEN, NOTIFY); and it knows whether the database answers.
"""

from __future__ import annotations

import logging
import secrets
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from emotape.errors import NotReady
from emotape.store.postgres_connection import COME_AGAIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Notify

    from emotape.store.database import Connection
    from emotape.store.postgres_connection import Impatient

log = logging.getLogger("emotape")

_CHANNEL: Final = "emotape_jobs"
_LOOK_SECONDS: Final = 5.0  # how often the connection is looked at, and any job may have changed
_LOOK_PATIENCE: Final = 3.0
_AGAIN_SECONDS: Final = 1.0  # until the next try to connect
_FIRST_SECONDS: Final = 5.0  # for which the first try is waited for
_GATHER_SECONDS: Final = 0.05  # changes of so long are told at once: every telling costs all who listen


class PostgresSession:
    """A member (`store/jobs/member.py`) by the session that `connect` opens; it begins with the first use."""

    def __init__(self, connect: Callable[[], Impatient], place: str) -> None:
        self.name = secrets.token_hex(8)
        self._connect = connect
        self._place = place
        self._listeners: list[Callable[[str], None]] = []
        self._changed = threading.Condition()
        self._problem: str | None = "it has not answered yet"
        self._is_tried = False
        self._is_member = False
        self._is_leaving = False
        self._to_tell: set[str] = set()
        self._thread: threading.Thread | None = None
        self._bell, self._rope = socket.socketpair()
        self._bell.settimeout(0)
        self._rope.settimeout(0)

    def check_reachable(self) -> None:
        """Raise NotReady "database_unreachable" while the database does not answer."""
        self._await(lambda: self._is_tried)
        if self._problem is not None:
            raise self._fault(self._problem)

    def check(self) -> None:
        """Make sure that the lock is held. Raises NotReady "database_unreachable"."""
        self._await(lambda: self._is_member or (self._is_tried and self._problem is not None))
        if not self._is_member:
            raise self._fault(self._problem or "the lock of this process is still held by its former session")

    def is_dead(self, connection: Connection, other: str) -> bool:
        """Return whether another member's session has ended; it gets its lock only after the transaction."""
        if other == self.name:
            return False
        row = connection.execute("SELECT pg_try_advisory_xact_lock(?) AS free", (_key(other),)).fetchone()
        return bool(row["free"])

    def tell(self, job: str) -> None:
        """Tell the others soon that a job changed."""
        with self._changed:
            self._to_tell.add(job)
        self._ring()

    def hear(self, listener: Callable[[str], None]) -> None:
        """Tell a listener what others change, and "" when something may have been missed."""
        self._listeners.append(listener)

    def leave(self) -> None:
        """End the session, after what is still to be told."""
        with self._changed:
            self._is_leaving = True
            self._changed.notify_all()
            thread = self._thread
        self._ring()
        if thread is not None:
            thread.join()
        self._bell.close()
        self._rope.close()

    def _await(self, ready: Callable[[], bool]) -> None:
        """Begin if need be, and wait for a while."""
        with self._changed:
            if self._thread is None and not self._is_leaving:
                self._thread = threading.Thread(target=self._run, name="emotape-postgres", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: ready() or self._is_leaving, _FIRST_SECONDS)

    def _run(self) -> None:
        while not self._is_leaving:
            try:
                with self._connect() as connection:
                    self._live(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try comes
                self._note(" ".join(str(error).split()) or type(error).__name__)
            self._hear({""})
            with self._changed:
                self._changed.wait_for(lambda: self._is_leaving, _AGAIN_SECONDS)
        self._note("it is closed")

    def _live(self, connection: Impatient) -> None:
        connection.patience = _LOOK_PATIENCE
        connection.execute(f"LISTEN {_CHANNEL}".encode())
        self._note(None)
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            self._converse(connection, selector)

    def _converse(self, connection: Impatient, selector: selectors.BaseSelector) -> None:
        """Hear and tell until this process leaves, or the connection breaks."""
        look_at = tell_at = 0.0
        while not self._is_leaving:
            self._hear({job for job in map(self._meant, connection.notifies(timeout=0)) if job is not None})
            now = time.monotonic()
            if now >= look_at:
                look_at = now + self._look(connection)
            if self._to_tell and now >= tell_at:
                self._notify(connection)
                tell_at = now + _GATHER_SECONDS
            until = min(look_at, tell_at) if self._to_tell else look_at
            selector.select(max(0.0, until - time.monotonic()))
            with suppress(BlockingIOError):
                self._bell.recv(4096)
        self._notify(connection)

    def _look(self, connection: Impatient) -> float:
        """See whether the database answers, and take the lock if need be; return when to look again."""
        self._hear({""})
        if self._is_member:
            connection.execute("SELECT 1")
            return _LOOK_SECONDS
        row = connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", (_key(self.name),)).fetchone()
        with self._changed:
            self._is_member = row is not None and bool(row["taken"])
            self._changed.notify_all()
        return _LOOK_SECONDS if self._is_member else _AGAIN_SECONDS

    def _meant(self, notice: Notify) -> str | None:
        """Return the job that others speak of; None where it was this process that spoke."""
        speaker, _, job = notice.payload.partition(":")
        return None if speaker == self.name else job

    def _notify(self, connection: Impatient) -> None:
        with self._changed:
            jobs, self._to_tell = sorted(self._to_tell), set()
        if jobs:
            payloads = [f"{self.name}:{job}" for job in jobs]
            connection.execute("SELECT pg_notify(%s, said) FROM unnest(%s::text[]) AS said", (_CHANNEL, payloads))

    def _hear(self, jobs: set[str]) -> None:
        for job in jobs:
            for listener in self._listeners:
                listener(job)

    def _note(self, problem: str | None) -> None:
        """Note how the database is; tell people when that changes."""
        with self._changed:
            is_news = (problem is None) != (self._problem is None) or not self._is_tried
            self._problem, self._is_tried, self._is_member = problem, True, False
            self._changed.notify_all()
        if is_news and not self._is_leaving:
            if problem is not None:
                log.warning("the database of jobs at %s does not answer: %s", self._place, problem)
            else:
                log.info("the database of jobs at %s answers", self._place)

    def _fault(self, problem: str) -> NotReady:
        return NotReady("database_unreachable", retry_after=COME_AGAIN, place=self._place, reason=problem)

    def _ring(self) -> None:
        with suppress(OSError):  # it rings already, or is closed
            self._rope.send(b"\0")


def _key(name: str) -> int:
    """Return a member's name as the number of its lock."""
    return int.from_bytes(bytes.fromhex(name), signed=True)

"""A process among those that share a store: it shows the others that it lives, and hears what they change."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emotape.store.database import Connection


class Member(Protocol):
    """This process, under a name that no other has or had."""

    name: str

    def check(self) -> None:
        """Make sure that the others see it alive, so that it may take something on. Raises EmotapeError."""
        ...

    def is_dead(self, connection: Connection, other: str) -> bool:
        """Return whether another member has ended; if so it stays dead as long as the transaction lasts."""
        ...

    def tell(self, job: str) -> None:
        """Let the others know that a job changed. Never raises and never waits."""
        ...

    def hear(self, listener: Callable[[str], None]) -> None:
        """Have `listener(job)` called, in a thread of its own, when others change a job; "" may stand for any job."""
        ...

    def leave(self) -> None:
        """Let go: what this process still holds is anyone's."""
        ...


class LocalMember:
    """A member on one machine: a file is locked as long as its process lives, however it dies.

    Others are not heard: whoever needs to know what other processes did looks again from time to time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "owners"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.name = secrets.token_hex(8)
        self._lock = self._lock_of(self.name)
        self._lock.acquire()

    def check(self) -> None:
        """Do nothing: the lock holds as long as the process."""

    def is_dead(self, connection: Connection | None, other: str) -> bool:  # noqa: ARG002 - files know
        """Return whether another member's process has ended."""
        if other == self.name:
            return False
        lock = self._lock_of(other)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        lock.release()
        self._path(other).unlink(missing_ok=True)
        return True

    def tell(self, job: str) -> None:
        """Do nothing."""

    def hear(self, listener: Callable[[str], None]) -> None:
        """Do nothing."""

    def leave(self) -> None:
        """Let go of the lock."""
        self._lock.release()
        with suppress(OSError):
            self._path(self.name).unlink(missing_ok=True)

    def _lock_of(self, other: str) -> FileLock:
        return FileLock(self._path(other), thread_local=False)

    def _path(self, other: str) -> Path:
        return self._folder / f"{other}.lock"

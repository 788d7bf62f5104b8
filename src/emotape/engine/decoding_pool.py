"""Threads of which only so many work at once; how many can change at any time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class DecodingPool:
    """At most `threads` threads; `limit` of them work, the others wait. Safe to use from any thread.

    Work sees to its own errors. Threads start as they are needed.
    """

    def __init__(self, threads: int, prepare: Callable[[], None]) -> None:
        """`prepare` is called in each thread before its first work."""
        self.threads = threads
        self._executor = ThreadPoolExecutor(threads, "emotape-decode", prepare)
        self._turn = threading.Condition()
        self._limit = threads
        self._working = 0
        self._waiting = 0

    @property
    def limit(self) -> int:
        """How many threads may work at once, from 1 to `threads`."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._turn:
            self._limit = max(1, min(limit, self.threads))
            self._turn.notify_all()

    @property
    def waiting(self) -> int:
        """How much work waits for its turn."""
        return self._waiting

    def submit(self, work: Callable[[], None]) -> None:
        """Do work in its turn. Raises RuntimeError after `shutdown`."""
        with self._turn:
            self._waiting += 1
        try:
            self._executor.submit(self._do, work)
        except RuntimeError:
            with self._turn:
                self._waiting -= 1
            raise

    def shutdown(self) -> None:
        """Do all that was submitted, then end the threads."""
        self._executor.shutdown()

    def _do(self, work: Callable[[], None]) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._working < self._limit)
            self._waiting -= 1
            self._working += 1
        try:
            work()
        finally:
            with self._turn:
                self._working -= 1
                self._turn.notify()

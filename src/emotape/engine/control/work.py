"""How busy the threads that run tapes are, tapes still under way included."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Work:
    """What was done until `now`, in seconds of the clock.

    busy     seconds that threads spent on tapes, summed over threads, those under way included
    tapes    tapes that are done, with their `tokens` and the `seconds` they took
    """

    now: float
    busy: float
    tapes: int
    tokens: int
    seconds: float


class WorkMeter:
    """Adds up what threads do. Safe to use from any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._inside = 0
        self._counted_until = clock()
        self._busy = 0.0
        self._tapes = self._tokens = 0
        self._seconds = 0.0

    @contextmanager
    def tape(self) -> Iterator[None]:
        """Count the time that a thread spends within."""
        self._move(1)
        try:
            yield
        finally:
            self._move(-1)

    def ran(self, tokens: int, seconds: float) -> None:
        """Count a tape that is done."""
        with self._lock:
            self._tapes += 1
            self._tokens += tokens
            self._seconds += seconds

    def look(self) -> Work:
        """Return the sums so far."""
        self._move(0)
        with self._lock:
            return Work(self._counted_until, self._busy, self._tapes, self._tokens, self._seconds)

    def _move(self, by: int) -> None:
        with self._lock:
            now = self._clock()
            self._busy += self._inside * (now - self._counted_until)
            self._counted_until = now
            self._inside += by

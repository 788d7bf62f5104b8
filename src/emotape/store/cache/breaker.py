"""A circuit breaker: what fails again and again is left alone for a while, so that nobody waits for it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TOLERATED: Final = 3  # failures in a row
_SHORTEST: Final = 1.0  # seconds of the first pause; each further one is twice as long
_LONGEST: Final = 30.0


class Breaker:
    """Says whether to try at all. After a pause one caller tries; until it reports, the next one does a pause later."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = 0.0  # seconds; 0 while closed
        self._paused_until = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether the last pause has not yet ended in a success."""
        return self._pause > 0

    def allows(self) -> bool:
        """Say whether to try now; after True the caller reports `succeeded` or `failed`."""
        with self._lock:
            if not self.is_open:
                return True
            now = self._clock()
            if now < self._paused_until:
                return False
            self._paused_until, self._trying = now + self._pause, True
            return True

    def succeeded(self) -> None:
        """Take note of a success: everything is well again."""
        with self._lock:
            self._failures, self._pause, self._trying = 0, 0.0, False

    def failed(self) -> float | None:
        """Take note of a failure; return the seconds of the pause that begins with it, or None if none does."""
        with self._lock:
            self._failures += 1
            if self.is_open and not self._trying:
                return None  # one that was under way when the pause began
            if not self.is_open and self._failures < _TOLERATED:
                return None
            self._pause = min(_LONGEST, 2 * self._pause or _SHORTEST)
            self._paused_until = self._clock() + self._pause
            self._trying = False
            return self._pause

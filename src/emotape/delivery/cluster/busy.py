"""How busy an engine's devices are, from the facts that it states."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from emotape.events import Event, TapeRan

if TYPE_CHECKING:
    from collections.abc import Callable


class Busy:
    """An `Observer` that sums how long tapes ran. Any thread may tell it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._ran: dict[str, float] = {}

    def __call__(self, event: Event, /) -> None:
        """Note a tape."""
        if isinstance(event, TapeRan):
            with self._lock:
                self._ran[event.device] = self._ran.get(event.device, 0.0) + event.seconds

    def share(self) -> float:
        """Return the share of the time since the last look in which a device ran: the busiest one's, 1 at most."""
        with self._lock:
            now = self._clock()
            passed, ran = now - self._since, max(self._ran.values(), default=0.0)
            self._since, self._ran = now, {}
        return min(1.0, ran / passed) if passed > 0 else 0.0

"""How the engines are doing, from what comes with their answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.delivery.cluster.messages import Load

_FRESH_SECONDS: Final = 10.0


class Loads:
    """The latest word of every engine. An engine that was not asked for a while counts as having nothing to do."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: dict[str, tuple[float, Load]] = {}
        self._bound: float | None = None

    def note(self, load: Load) -> None:
        """Take note of what an engine says."""
        with self._lock:
            self._latest[load.replica] = self._clock(), load
            self._bound = sum(each.bound or 0.0 for each in self._fresh())

    def waiting(self) -> float:
        """Return the seconds of audio that wait with all of them."""
        with self._lock:
            return sum(each.waiting for each in self._fresh())

    def bound(self) -> float | None:
        """Return how many may wait; None before any engine was heard."""
        with self._lock:
            return self._bound

    def _fresh(self) -> list[Load]:
        now = self._clock()
        self._latest = {name: each for name, each in self._latest.items() if now - each[0] < _FRESH_SECONDS}
        return [load for _, load in self._latest.values()]

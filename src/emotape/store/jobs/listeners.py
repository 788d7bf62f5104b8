"""Who wants to know of changes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Listeners:
    """Functions that are called with the id of each job that changed. Any thread may add and tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Callable[[str], None]] = []

    def add(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call a function from now on, until the returned one is called."""
        with self._lock:
            self._all = [*self._all, listener]

        def stop() -> None:
            with self._lock:
                self._all = [other for other in self._all if other is not listener]

        return stop

    def tell(self, job: str) -> None:
        """Tell all."""
        for listener in self._all:
            listener(job)

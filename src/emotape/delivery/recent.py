"""What happened lately: sums over the last seconds, in buckets of one second each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SPAN: Final = 300
"""Seconds that are remembered."""


class Recent:
    """Adds up amounts by name. Any thread may add; sums are of whole seconds, the present one left out.

    A service that has run for less than a sum's span is summed from its start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started = int(clock())
        self._seconds = [-1] * (SPAN + 1)
        self._sums: list[Counter[str]] = [Counter() for _ in self._seconds]

    def add(self, amounts: Mapping[str, float]) -> None:
        """Count amounts in the present second."""
        now = int(self._clock())
        place = now % len(self._seconds)
        with self._lock:
            if self._seconds[place] != now:
                self._seconds[place] = now
                self._sums[place] = Counter()
            for name, amount in amounts.items():
                self._sums[place][name] += amount  # type: ignore[assignment]  # typeshed: counts are whole; not so here

    def total(self, span: int) -> dict[str, float]:
        """Return the sums of the last `span` seconds, at most `SPAN`."""
        now = int(self._clock())
        found: dict[str, float] = {}
        with self._lock:
            for second, sums in zip(self._seconds, self._sums, strict=True):
                if now - span <= second < now:
                    for name, amount in sums.items():
                        found[name] = found.get(name, 0.0) + amount
        return found

    def rate(self, span: int) -> dict[str, float]:
        """Return the sums of the last `span` seconds, a second."""
        seconds = max(1, min(span, int(self._clock()) - self._started))
        return {name: amount / seconds for name, amount in self.total(span).items()}

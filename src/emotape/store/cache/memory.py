"""Entries in this process: the least recently used one goes first, and none stays longer than its time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache

if TYPE_CHECKING:
    from collections.abc import Callable

_OVERHEAD: Final = 600  # bytes that an entry takes beside its own: key, links and places in two tables
_LARGEST_SHARE: Final = 1 / 8  # an entry that takes more would push out too many others


class MemoryCache:
    """Keeps at most `megabytes` (10^6 bytes), for `hours` each. An entry of more than an eighth is not kept."""

    def __init__(
        self, megabytes: float = 64.0, hours: float = 24.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        capacity = megabytes * 1e6
        self._largest = capacity * _LARGEST_SHARE
        self._entries: TTLCache[str, bytes] = TTLCache(capacity, 3600 * hours, timer=clock, getsizeof=_size)
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """Return the entry under `key`, or None."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: str, entry: bytes) -> None:
        """Keep an entry, at the expense of those that nobody asked for longest."""
        if _size(entry) <= self._largest:
            with self._lock:
                self._entries[key] = entry

    @property
    def bytes(self) -> int:
        """How much is kept, in bytes, with what keeping takes."""
        with self._lock:
            return int(self._entries.currsize)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()


def _size(entry: bytes) -> int:
    return len(entry) + _OVERHEAD

"""Entries in this process: the least recently used one goes first, and none stays longer than its time."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
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
        self._whole = self._capacity = megabytes * 1e6
        self._entries: TTLCache[str, bytes] = TTLCache(self._whole, 3600 * hours, timer=clock, getsizeof=_size)
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """Return the entry under `key`, or None."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: str, entry: bytes) -> None:
        """Keep an entry, at the expense of those that nobody asked for longest."""
        if _size(entry) <= self._capacity * _LARGEST_SHARE:
            with self._lock:
                self._entries[key] = entry
                self._make_room()

    def keep_share(self, share: float) -> None:
        """Keep at most this share of the megabytes from now on, from 0 (nothing) to 1."""
        with self._lock:
            self._capacity = share * self._whole
            self._make_room()

    @property
    def bytes(self) -> int:
        """How much is kept, in bytes, with what keeping takes."""
        with self._lock:
            return int(self._entries.currsize)

    def _make_room(self) -> None:
        with suppress(KeyError):  # the last one's time was up
            while self._entries.currsize > self._capacity:
                self._entries.popitem()

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()


def _size(entry: bytes) -> int:
    return len(entry) + _OVERHEAD

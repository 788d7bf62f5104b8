"""This process's own memory before a store that several processes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotape.store.cache.result_cache import Shrinkable

if TYPE_CHECKING:
    from emotape.store.cache.result_cache import ResultCache


class LayeredCache:
    """Asks `near` first and `far` only when it does not know; what came from afar is kept near."""

    def __init__(self, near: ResultCache, far: ResultCache) -> None:
        self._near = near
        self._far = far

    def get(self, key: str) -> bytes | None:
        """Return the entry of the nearest cache that has it."""
        entry = self._near.get(key)
        if entry is None and (entry := self._far.get(key)) is not None:
            self._near.put(key, entry)
        return entry

    def put(self, key: str, entry: bytes) -> None:
        """Keep an entry in both."""
        self._near.put(key, entry)
        self._far.put(key, entry)

    def keep_share(self, share: float) -> None:
        """Keep at most this share of the memory of either that is in this process."""
        for cache in (self._near, self._far):
            if isinstance(cache, Shrinkable):
                cache.keep_share(share)

    def close(self) -> None:
        """Close both."""
        self._near.close()
        self._far.close()

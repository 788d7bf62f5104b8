"""The seam of the result cache: bytes by key. What the bytes mean is `entry.py`, what the key means `key.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable


class ResultCache(Protocol):
    """Keeps entries for a while. Any thread may call it; it never raises and never takes long."""

    def get(self, key: str) -> bytes | None:
        """Return the entry that was put under `key`, byte for byte, or None."""

    def put(self, key: str, entry: bytes) -> None:
        """Keep an entry, if there is room for it; it may be forgotten at any time."""

    def close(self) -> None:
        """Let go of threads and connections. Afterwards nothing is kept or found."""


@runtime_checkable
class Shrinkable(Protocol):
    """A cache that can do with less of this process's memory, when that gets short. Any thread may call it."""

    def keep_share(self, share: float) -> None:
        """Keep at most this share of what it may keep, from 0 (nothing) to 1, and forget the rest at once."""


def keeper(cache: object) -> Callable[[float], None]:
    """Return what tells a cache to keep a share; it does nothing for one that cannot."""
    return cache.keep_share if isinstance(cache, Shrinkable) else lambda _: None


class FakeCache:
    """A cache for tests at this seam: keeps everything, remembers what was asked, and hands out what `lie` makes."""

    def __init__(self, lie: Callable[[bytes], bytes | None] = lambda entry: entry) -> None:
        self.entries: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._lie = lie

    def get(self, key: str) -> bytes | None:
        """Return what `lie` makes of the entry."""
        self.asked.append(key)
        entry = self.entries.get(key)
        return None if entry is None else self._lie(entry)

    def put(self, key: str, entry: bytes) -> None:
        """Keep an entry."""
        self.entries[key] = entry

    def close(self) -> None:
        """Forget everything."""
        self.entries.clear()

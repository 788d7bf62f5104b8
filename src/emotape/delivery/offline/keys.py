"""A set of keys for millions of recordings, at some thirty bytes each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.offline.item import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

_FEWEST: Final = 65_536  # keys that are kept in a set of Python's before they are sorted in
_SHARE: Final = 8  # the set may grow to this part of the sorted keys, so that sorting costs little for each


class Keys:
    """Keys of `KEY_BYTES` bytes. Most lie sorted in one array; the newest are in a set until there are enough."""

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._sorted = np.zeros(0, f"S{KEY_BYTES}")
        self._recent: set[bytes] = set()
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def __contains__(self, key: bytes) -> bool:
        if key in self._recent:
            return True
        wanted = np.bytes_(key.rstrip(b"\0"))  # as numpy gives them back
        place = int(np.searchsorted(self._sorted, wanted))
        return place < len(self._sorted) and bool(self._sorted[place] == wanted)

    def add(self, key: bytes) -> bool:
        """Add a key; return whether it is new."""
        if key in self:
            return False
        self._recent.add(key)
        if len(self._recent) >= max(_FEWEST, len(self._sorted) // _SHARE):
            self._sort_in()
        return True

    def _sort_in(self) -> None:
        recent = np.fromiter(self._recent, self._sorted.dtype, len(self._recent))
        self._recent.clear()
        self._sorted = np.concatenate((self._sorted, recent))
        self._sorted.sort()

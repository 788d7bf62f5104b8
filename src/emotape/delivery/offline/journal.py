"""Rows that are in no part yet: appended to one file, payload by payload, so that a kill costs none of them."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD: Final = struct.Struct("<II")  # length and CRC-32 of the payload that follows


class Journal:
    """Payloads in a file, and how many bytes they are (`size`).

    What a kill or a power cut left unfinished at its end is cut off when it is opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self.payloads = list(_whole(path))
        self.size = sum(map(len, self.payloads))
        self._file.truncate(self.size + _HEAD.size * len(self.payloads))

    def add(self, payload: bytes) -> None:
        """Append a payload. When this returns, the death of this process cannot undo it."""
        self.payloads.append(payload)  # first: who is interrupted while it is written still finds it for the part
        self.size += len(payload)
        left = memoryview(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
        while left:
            left = left[self._file.write(left) :]

    def clear(self) -> None:
        """Forget every payload."""
        self._file.truncate(0)
        self.payloads.clear()
        self.size = 0

    def close(self) -> None:
        """Close the file; what it holds stays."""
        self._file.close()


def _whole(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            payload = file.read(length)
            if len(payload) < length or zlib.crc32(payload) != checksum:
                return
            yield payload

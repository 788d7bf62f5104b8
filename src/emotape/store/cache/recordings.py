"""Recordings that were decoded before, known by the bytes of their files: the same upload is not decoded twice."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from emotape.audio.reader import AudioSource, Reader, can_seek, open_reader
from emotape.audio.waveform import Waveform

if TYPE_CHECKING:
    from emotape.audio.decode import ChannelMode, DecodeLimits
    from emotape.store.cache.key import Sound

MOST_BYTES: Final = 16 * 1024**2
"""Bytes of a file that is read to be recognized again; larger ones are decoded each time, and known by their sound."""
_MOST_RECORDINGS: Final = 10_000  # some hundred bytes each


@dataclass(frozen=True)
class Known:
    """What decoding a recording gave, without the samples."""

    sound: Sound
    warnings: tuple[str, ...]


class KnownRecordings:
    """What is known of files, by their content and by whether their channels are mixed; the latest ones."""

    def __init__(self) -> None:
        self._known: LRUCache[str, Known] = LRUCache(_MOST_RECORDINGS)
        self._lock = threading.Lock()

    def find(self, name: str | None) -> Known | None:
        """Return what is known of the recording that `recording_name` named."""
        with self._lock:
            return None if name is None else self._known.get(name)

    def note(self, name: str | None, known: Known) -> None:
        """Remember what a recording holds; without a name there is nothing to find it by."""
        if name is not None:
            with self._lock:
                self._known[name] = known


def in_memory(source: AudioSource | Waveform, limits: DecodeLimits) -> AudioSource | Waveform:
    """Return the bytes of a short file, and everything else as it is.

    What is decoded is then what was named, even if the file changes meanwhile. Raises as `decode` does.
    """
    if isinstance(source, bytes | bytearray | memoryview | Waveform):
        return source
    if isinstance(source, str | os.PathLike):
        if not _is_short(source):
            return source
        with open_reader(source, limits) as reader:
            return b"".join(reader.drain())
    if hasattr(source, "read") and can_seek(source):
        reader = Reader(source, limits)
        return b"".join(reader.drain()) if (reader.size or 0) <= MOST_BYTES else source
    return source


def recording_name(source: AudioSource | Waveform, channels: ChannelMode) -> str | None:
    """Return a name for a recording in memory, made of its bytes; None for a waveform or what lies elsewhere."""
    if isinstance(source, bytes | bytearray | memoryview):
        return f"{channels} {hashlib.sha256(source).hexdigest()}"
    return None


def _is_short(path: str | os.PathLike[str]) -> bool:
    """Say whether a path leads to a file, rather than to a pipe or a device, of few enough bytes to read at once."""
    try:
        found = os.stat(path)  # noqa: PTH116 - also "", which is no Path
    except (OSError, ValueError):
        return False  # whoever decodes says why
    return stat.S_ISREG(found.st_mode) and found.st_size <= MOST_BYTES

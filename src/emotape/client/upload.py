"""A recording on its way out: whatever it is given as, it can be read again from the start."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from emotape.audio.limits import DecodeLimits
from emotape.audio.reader import Reader, open_reader
from emotape.audio.waveform import SAMPLE_RATE, Waveform

if TYPE_CHECKING:
    from collections.abc import Iterator

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Waveform

UNNAMED: Final = "recording"
_LIMITS: Final = DecodeLimits()
_MEMORY: Final = 8 * 1024**2


@dataclass(frozen=True)
class Upload:
    """A recording and its name; `reader` can go back to its start."""

    name: str
    reader: Reader

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.reader.size or 0

    def blocks(self) -> Iterator[bytes]:
        """Yield it from the start."""
        self.reader.seek(0)
        yield from self.reader.drain()


@contextmanager
def opened(source: Source) -> Iterator[Upload]:
    """Give a recording to send; a Waveform goes out as WAV with all its bits.

    Raises BadRequest ("no_such_file"), BadAudio ("unreadable_file") and TooLong ("too_many_bytes").
    """
    name = name_of(source)
    with open_reader(_wav(source) if isinstance(source, Waveform) else source, _LIMITS) as reader:
        if reader.size is not None:
            yield Upload(name, reader)
            return
        with SpooledTemporaryFile(max_size=_MEMORY) as spool:
            for block in reader.drain():
                spool.write(block)
            spool.seek(0)
            yield Upload(name, Reader(cast("BinaryIO", spool), _LIMITS))


def name_of(source: Source) -> str:
    """Return what the server calls a recording: the last part of its path, if it has one."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if not isinstance(path, str | os.PathLike):
        return UNNAMED
    return Path(path).name.encode("utf-8", "replace").decode("utf-8") or UNNAMED


def _wav(waveform: Waveform) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, waveform.samples, SAMPLE_RATE, subtype="FLOAT", format="WAV")
    return file.getvalue()

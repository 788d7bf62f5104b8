"""Sound that is still coming in: chunks of bytes become 16 kHz mono, block by block, while the recording goes on.

Both functions ask for the next chunk only when they need it, and wait for it: they belong into a thread of their own.
What they give, joined, is what `decode` gives of the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, cast

import numpy as np

from emotape.audio.container import audio_track, check_rate, open_container
from emotape.audio.frames import Frames
from emotape.audio.reader import Reader
from emotape.audio.samples import Mixer
from emotape.audio.sniff import is_mp4
from emotape.errors import BadAudio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from emotape.audio.limits import DecodeLimits

Coding = Literal["s16le", "f32le"]
BLOCK: Final = 4_096  # samples that are gathered before they are resampled; a tenth of a second
_TYPES: Final[dict[Coding, np.dtype[Any]]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


@dataclass(frozen=True)
class PcmFormat:
    """How bare samples are written: their coding, `sample_rate` in Hz, and the number of interleaved channels."""

    coding: Coding
    sample_rate: int
    channels: int


def pcm_blocks(chunks: Iterable[bytes], form: PcmFormat, limits: DecodeLimits) -> Iterator[NDArray[np.float32]]:
    """Yield mono float32 [n] at 16 kHz of interleaved samples; chunks may end anywhere. Raises BadAudio and TooLong."""
    check_rate(form.sample_rate)
    limits.check_channels(form.channels)
    mixer = Mixer(None, 0, limits, BLOCK)
    seconds = 0.0
    for table in _tables(chunks, _TYPES[form.coding], form.channels):
        seconds += len(table) / form.sample_rate
        limits.check_seconds(seconds)
        mixer.add(table.T, form.sample_rate)
        yield from _given(mixer)
    mixer.finish()
    yield from _given(mixer)


def encoded_blocks(chunks: Iterable[bytes], limits: DecodeLimits) -> Iterator[NDArray[np.float32]]:
    """Yield mono float32 [n] at 16 kHz of a recording in any container that can be read from front to back.

    Raises BadAudio ("index_at_end" for MP4, whose index comes last) and TooLong as `decode` does.
    """
    reader = Reader(cast("BinaryIO", _ChunkFile(chunks)), limits)
    if is_mp4(reader.head):
        raise BadAudio("index_at_end")
    with open_container(reader, limits) as container:
        frames = Frames(container, audio_track(container, limits), limits, BLOCK)
        mixer = Mixer(None, 0, limits, BLOCK)
        for samples, rate in frames:
            mixer.add(samples, rate)
            yield from _given(mixer)
    if reader.failure is not None:
        raise reader.failure
    if frames.seconds == 0.0 and frames.corrupt:
        raise BadAudio("undecodable", packets=frames.corrupt)
    mixer.finish()
    yield from _given(mixer)


def _given(mixer: Mixer) -> Iterator[NDArray[np.float32]]:
    (block,) = mixer.taken()
    if len(block):
        yield block


def _tables(chunks: Iterable[bytes], kind: np.dtype[Any], channels: int) -> Iterator[NDArray[Any]]:
    """Yield samples [n, channels]; bytes that are left over go before the next chunk."""
    width = kind.itemsize * channels
    rest = b""
    for chunk in chunks:
        whole = rest + chunk
        end = len(whole) - len(whole) % width
        rest = whole[end:]
        if end:
            yield np.frombuffer(whole[:end], kind).reshape(-1, channels)


class _ChunkFile:
    """A file that is read as its chunks come; it cannot go back."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, count: int) -> bytes:
        """Return what there is, `count` bytes at most; wait only when there is nothing, and give nothing at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        found, self._rest = self._rest[:count], self._rest[count:]
        return found

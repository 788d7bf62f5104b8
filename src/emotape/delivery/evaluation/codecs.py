"""Round trips through real codecs: encoded by FFmpeg, and decoded as any file that somebody sends."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, cast

import av
import numpy as np

from emotape.audio.decode import decode
from emotape.audio.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg's, the container for it, its sampling rate in Hz and its bits a second."""

    name: str
    encoder: str
    container: str
    rate: int
    bits: int

    @property
    def exists(self) -> bool:
        """Whether this FFmpeg can encode with it."""
        return self.encoder in av.codecs_available and _can_write(self.encoder)


CODECS: Final = (
    Codec("opus 12 kbit/s", "libopus", "ogg", 16_000, 12_000),
    Codec("mp3 32 kbit/s", "libmp3lame", "mp3", 16_000, 32_000),
    Codec("amr 12.2 kbit/s", "libopencore_amrnb", "amr", 8000, 12_200),
)


def missing() -> tuple[str, ...]:
    """Return the codecs that this FFmpeg cannot write."""
    return tuple(codec.name for codec in CODECS if not codec.exists)


def through(codec: Codec, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return samples [n] at 16 kHz as they come back from a codec; it may add a little at either end."""
    return decode(encoded(codec, samples)).waveforms[0].samples


def encoded(codec: Codec, samples: NDArray[np.float32]) -> bytes:
    """Return a file of samples [n] at 16 kHz, cut off at full scale."""
    import soxr

    narrow = soxr.resample(samples, SAMPLE_RATE, codec.rate) if codec.rate != SAMPLE_RATE else samples
    integers = np.round(np.clip(narrow, -1, 1) * 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format=codec.container) as container:
        track = cast("AudioStream", container.add_stream(codec.encoder, rate=codec.rate, layout="mono"))
        track.bit_rate = codec.bits
        frame = av.AudioFrame.from_ndarray(integers[None], format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = codec.rate, Fraction(1, codec.rate), 0
        for each in (frame, None):
            container.mux(track.encode(each))
    return file.getvalue()


def _can_write(encoder: str) -> bool:
    try:
        av.Codec(encoder, "w")
    except ValueError:
        return False
    return True

"""Speech in the formats that people have, encoded on the spot."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.audio.waveform import SAMPLE_RATE
from emotape.delivery.bench import speech

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# format: (container, codec, sample rate, channels)
FORMATS: Final = {
    "wav": ("wav", "pcm_s16le", 44_100, 2),
    "flac": ("flac", "flac", 44_100, 2),
    "mp3": ("mp3", "libmp3lame", 44_100, 2),
    "m4a": ("ipod", "aac", 48_000, 2),
    "ogg": ("ogg", "vorbis", 44_100, 2),
    "opus": ("ogg", "libopus", 48_000, 2),
    "webm": ("webm", "libopus", 48_000, 1),
    "amr": ("amr", "libopencore_amrnb", 8_000, 1),
}


def describe(name: str) -> str:
    """Return a format with its rate and channels."""
    _, _, rate, channels = FORMATS[name]
    return f"{name}, {rate / 1000:g} kHz {'stereo' if channels == 2 else 'mono'}"


def recording(name: str, seconds: float) -> bytes:
    """Return speech as a file in one of FORMATS."""
    import soxr

    container, codec, rate, channels = FORMATS[name]
    samples = soxr.resample(speech.clip(seconds).samples, SAMPLE_RATE, rate)
    stereo = np.stack([samples, 0.8 * np.roll(samples, rate // 1000)], axis=1)[:, :channels]
    values = np.round(stereo.clip(-1, 1) * 32_767).astype(np.int16)
    if codec == "vorbis":
        return _by_soundfile(values, rate)
    return _by_ffmpeg(values, rate, codec, container)


def _by_soundfile(values: NDArray[np.int16], rate: int) -> bytes:
    """FFmpeg's own Vorbis encoder is experimental; libsndfile brings the real one."""
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, values.shape[1], format="OGG", subtype="VORBIS") as output:
        for start in range(0, len(values), rate):
            output.write(values[start : start + rate])
    return file.getvalue()


def _by_ffmpeg(values: NDArray[np.int16], rate: int, codec: str, container: str) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout = _layout(values)
        for frame in _frames(values, rate):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return file.getvalue()


def _frames(values: NDArray[np.int16], rate: int) -> Iterator[Any]:
    """Yield a second of samples at a time."""
    import av

    for start in range(0, len(values), rate):
        part = values[start : start + rate]
        frame = av.AudioFrame.from_ndarray(part.reshape(1, -1).copy(), format="s16", layout=_layout(values))
        frame.rate, frame.pts = rate, start
        yield frame


def _layout(values: NDArray[np.int16]) -> str:
    return "stereo" if values.shape[1] == 2 else "mono"

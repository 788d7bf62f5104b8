"""Real recordings for the tests, from `tests/data/audio` or encoded here from them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import soundfile

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).parents[1] / "data" / "audio"
FORMATS = ("wav", "flac", "mp3", "m4a", "ogg", "opus", "webm", "amr")


@cache
def clip(extension: str) -> bytes:
    """Return the same 1.59 s clip in one of FORMATS, as "aiff", or as the audio track of a video ("mp4")."""
    if extension == "aiff":
        return pcm_file("AIFF")
    if extension == "mp4":
        return video()
    return (DATA / f"thorsten_neutral.{extension}").read_bytes()


@cache
def original() -> tuple[NDArray[np.int16], int]:
    """Return the clip's samples [n] and their rate."""
    samples, rate = soundfile.read(DATA / "thorsten_neutral.wav", dtype="int16")
    return samples, rate


def pcm_file(container: str, subtype: str = "PCM_16") -> bytes:
    samples, rate = original()
    values = samples / 32768 if subtype in {"FLOAT", "DOUBLE"} else samples
    return written(values, rate, container, subtype)


def written(samples: NDArray[Any], rate: int, container: str = "WAV", subtype: str | None = None) -> bytes:
    """Write samples [n] or [n, c] as a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def encoded(samples: NDArray[np.int16], rate: int, codec: str, container: str, picture: bool = False) -> bytes:
    """Encode samples [n] or [n, c] by FFmpeg, on request with a video track of eight small pictures."""
    file = io.BytesIO()
    table = samples.reshape(len(samples), -1)
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[table.shape[1]]
    with av.open(file, "w", format=container) as output:
        video = _video_stream(output) if picture else None
        stream: Any = output.add_stream(codec, rate=rate)
        stream.layout = layout
        if video is not None:
            _add_pictures(output, video)
        frame = av.AudioFrame.from_ndarray(table.reshape(1, -1).copy(), format="s16", layout=layout)
        frame.rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return file.getvalue()


def _video_stream(output: Any) -> Any:
    stream = output.add_stream("mpeg4", rate=8)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    return stream


def _add_pictures(output: Any, stream: Any) -> None:
    for number in range(8):
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 16 * number, np.uint8), format="rgb24")
        output.mux(stream.encode(picture))
    output.mux(stream.encode(None))


@cache
def video() -> bytes:
    samples, rate = original()
    return encoded(samples, rate, "aac", "mp4", picture=True)

"""Packets of one audio track become arrays of samples; what cannot be decoded is counted, never silently skipped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import av
import av.error
import numpy as np

from emotape.audio.container import check_rate
from emotape.audio.samples import BLOCK
from emotape.errors import BadAudio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from numpy.typing import NDArray

    from emotape.audio.limits import DecodeLimits

# PyAV looks for a null pointer behind the planes of a frame. FFmpeg keeps room for eight, so with eight or more
# there is none, and PyAV would read what lies behind: such frames are interleaved first.
_PLANES: Final = 8

# FFmpeg's names of sample types; those of planes end with a p.
_TYPES: Final = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}

# Containers that number their samples, so that a jump by more than so many seconds means loss. Others write clock
# times, which may well jump. Vorbis spreads the samples of a page unevenly.
_GAPS: Final = {"flac": 0.001, "ogg": 0.1}


class Frames:
    """The samples of a track in the order of decoding, checked against the limits before they are used.

    `seconds` is what was decoded so far, `reached` how far into the recording that came, `corrupt` the packets that
    were damaged or missing, and `is_cut` says that the last thing met was such a packet. At least `block` samples are
    gathered before they are given, if there are as many.
    """

    def __init__(self, container: InputContainer, track: AudioStream, limits: DecodeLimits, block: int = BLOCK) -> None:
        self._container = container
        self._decoder = track.codec_context
        self._track = track
        self._limits = limits
        self._block = block
        self._interleaver = Interleaver()
        self._gap = _GAPS.get(container.format.name, math.inf)
        self.seconds = 0.0
        self.reached = 0.0
        self.corrupt = 0
        self.is_cut = False

    def __iter__(self) -> Iterator[tuple[NDArray[Any], int]]:
        """Yield samples [c, n] as they are coded, many frames at a time, with their rate in Hz."""
        block: Block | None = None
        for frame in self._decoded():
            if frame.samples:
                self._note_gap(frame)
                self._check(frame)
                readable = self._readable(frame)
                if block is not None and (block.samples >= self._block or not block.takes(readable)):
                    yield block.joined(), block.rate
                    block = None
                block = block or Block(readable)
                block.add(readable)
        if block is not None:
            yield block.joined(), block.rate

    def _decoded(self) -> Iterator[AudioFrame]:
        packets = self._container.demux(self._track)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:  # the rest of the file cannot be found: bring out what is on its way
                self._note_damage()
                yield from self._decode(None)
                return
            yield from self._decode(packet)

    def _decode(self, packet: av.Packet[AudioStream] | None) -> Iterator[AudioFrame]:
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError:
            self._note_damage()
            return
        for frame in frames:
            self.corrupt += frame.is_corrupt
            self.is_cut = False
            yield frame

    def _note_damage(self) -> None:
        self.corrupt += 1
        self.is_cut = True

    def _note_gap(self, frame: AudioFrame) -> None:
        """Count a stretch that FFmpeg's parser dropped because its checksum was wrong: the frame numbers jump."""
        if frame.time is not None and frame.time > self.reached + self._gap:
            self.corrupt += 1
            self.reached = frame.time

    def _check(self, frame: AudioFrame) -> None:
        check_rate(frame.sample_rate)
        self._limits.check_channels(frame.layout.nb_channels)
        seconds = frame.samples / frame.sample_rate
        self.seconds += seconds
        self.reached += seconds
        self._limits.check_seconds(self.seconds)

    def _readable(self, frame: AudioFrame) -> AudioFrame:
        if frame.format.is_planar and frame.layout.nb_channels >= _PLANES:
            return self._interleaver.interleave(frame)
        return frame


class Block:
    """Consecutive frames of one form, joined when there are enough of them.

    An array of every frame would cost a tenth of decoding an MP3, all of it with the interpreter's lock held.
    """

    def __init__(self, first: AudioFrame) -> None:
        """Take the form of `first`. Raises BadAudio for a type of samples that numpy does not have."""
        self._format = first.format.name
        self._channels = first.layout.nb_channels
        self._is_planar = first.format.is_planar
        self.rate = first.sample_rate
        self.samples = 0
        kind = _TYPES.get(self._format.removesuffix("p"))
        if kind is None:
            raise BadAudio("unsupported_codec", codec=self._format)
        self._type = np.dtype(kind)
        self._planes: list[list[NDArray[Any]]] = [[] for _ in range(self._channels if self._is_planar else 1)]

    def takes(self, frame: AudioFrame) -> bool:
        """Say whether a frame has the form of this block."""
        form = (frame.format.name, frame.layout.nb_channels, frame.sample_rate)
        return form == (self._format, self._channels, self.rate)

    def add(self, frame: AudioFrame) -> None:
        """Take the samples of a frame, which stay where FFmpeg put them."""
        count = frame.samples if self._is_planar else frame.samples * self._channels
        planes: Any = frame.planes  # buffers, which their stubs do not say
        for arrays, plane in zip(self._planes, planes, strict=True):
            arrays.append(np.frombuffer(plane, self._type, count))
        self.samples += frame.samples

    def joined(self) -> NDArray[Any]:
        """Return all samples [c, n]."""
        joined = np.stack([np.concatenate(arrays) for arrays in self._planes])
        return joined if self._is_planar else joined.reshape(-1, self._channels).T


class Interleaver:
    """Interleaves the planes of frames; nothing is resampled or mixed."""

    def __init__(self) -> None:
        self._form: tuple[str, str, int] | None = None
        self._resampler = av.AudioResampler()

    def interleave(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame with its channels interleaved."""
        form = (frame.format.packed.name, frame.layout.name, frame.sample_rate)
        try:
            if form != self._form:
                self._form, self._resampler = form, av.AudioResampler(*form)
            return self._resampler.resample(frame)[0]
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            raise BadAudio("unsupported_codec", codec=f"{form[1]} {form[0]}") from error

"""Bytes become a `Waveform`: sniffed by content, limited, mixed down or split, resampled to 16 kHz.

`decode` is a pure function of its input; it keeps no state, starts no thread and releases the GIL while FFmpeg and
soxr work, so that several threads decode several files at once.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import av

from emotape.audio.container import audio_track, check_rate, container_name, open_container
from emotape.audio.frames import Frames
from emotape.audio.limits import DecodeLimits
from emotape.audio.reader import AudioSource, Reader, open_reader
from emotape.audio.samples import Mixer
from emotape.audio.sniff import ogg_is_cut, wav_header
from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.errors import BadAudio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from numpy.typing import NDArray

__all__ = ["AudioSource", "ChannelMode", "DecodeLimits", "Recording", "Source", "decode", "from_samples"]

ChannelMode = Literal["mix", "split"]

DEFAULT_LIMITS: Final = DecodeLimits()
SHORTEST: Final = 400  # samples; the network's field: less than this has no frame
_PADDING: Final = 0.1  # seconds that an encoder may add at the end, and that lengths may differ without a warning
_A_MINUTE: Final = 60.0
_FEWEST_BYTES: Final = 250.0  # a second of speech in the leanest codec
_ESTIMATED: Final = frozenset({"mp3", "aac"})  # FFmpeg guesses their length unless a tag states it


@dataclass(frozen=True)
class Source:
    """What the recording was before it became a waveform. Rate and channels are the track's own."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Recording:
    """A decoded recording: one waveform when mixed, one per channel when split.

    `warnings` may hold "truncated" (the file promises more than it holds) and "corrupt_packets" (parts could not be
    decoded and are missing); `corrupt_packets` counts those parts.
    """

    waveforms: tuple[Waveform, ...]
    source: Source
    warnings: tuple[str, ...] = ()
    corrupt_packets: int = 0


def decode(data: AudioSource, limits: DecodeLimits = DEFAULT_LIMITS, channels: ChannelMode = "mix") -> Recording:
    """Decode a recording to float32 at 16 kHz.

    `data` is the file's bytes, its path, or a binary file read from its position on (a stream is never read past
    `limits.bytes`). "mix" gives the mean of the channels, "split" a waveform for each.

    Raises BadAudio for what is no usable audio, TooLong when a limit is met, BadRequest for a path to nothing.
    """
    with opened(data, limits, channels) as recording:
        for samples, rate in recording.frames:
            recording.mixer.add(samples, rate)
        return recording.finished()


@contextmanager
def opened(data: AudioSource, limits: DecodeLimits, channels: ChannelMode) -> Iterator[OpenRecording]:
    """Open a recording and refuse what can be refused before anything of it is decoded. Raises as `decode` does."""
    with open_reader(data, limits) as reader, open_container(reader, limits) as container:
        yield OpenRecording(reader, container, audio_track(container, limits), limits, channels)


def from_samples(samples: NDArray[Any], sample_rate: int, limits: DecodeLimits = DEFAULT_LIMITS) -> Waveform:
    """Make a waveform of samples [n] or [n, channels] of any integer or float type at `sample_rate` Hz.

    Integers are scaled by their width; channels are averaged. Raises BadAudio and TooLong as `decode` does.
    """
    if samples.dtype.kind not in "iuf" or samples.ndim not in {1, 2}:
        raise BadAudio("bad_array", dtype=str(samples.dtype), shape=str(samples.shape))
    table = samples[:, None] if samples.ndim == 1 else samples
    check_rate(sample_rate)
    limits.check_channels(table.shape[1])
    limits.check_seconds(len(table) / sample_rate)
    mixer = Mixer(None, round(len(table) * SAMPLE_RATE / sample_rate), limits)
    for start in range(0, len(table), sample_rate):
        mixer.add(table[start : start + sample_rate].T, sample_rate)
    mixer.finish()
    _check_length(mixer.length)
    return Waveform(mixer.trimmed(mixer.length)[0])


def _check_length(samples: int) -> None:
    if samples == 0:
        raise BadAudio("no_samples")
    if samples < SHORTEST:
        raise BadAudio("too_short", samples=samples, shortest=SHORTEST)


class OpenRecording:
    """One recording on its way from packets to waveforms: all that `frames` give goes to `mixer`, then it is finished.

    `frames` decode; `mixer` mixes, or splits, and resamples.
    """

    def __init__(
        self,
        reader: Reader,
        container: InputContainer,
        track: AudioStream,
        limits: DecodeLimits,
        channels: ChannelMode,
    ) -> None:
        self._reader = reader
        self._container = container
        self._track = track
        self._limits = limits
        self._name = container_name(container, reader)
        self._stated = self._stated_seconds()
        self._refuse_stated()
        self._rate = track.codec_context.sample_rate
        self._channels = track.codec_context.channels
        expected = int(self._plausible_seconds() * SAMPLE_RATE) + SAMPLE_RATE
        self.mixer = Mixer(self._channels if channels == "split" else None, expected, limits)
        self.frames = Frames(container, track, limits)

    def finished(self) -> Recording:
        """Bring out what the mixer still holds, and return the whole."""
        if self._reader.failure is not None:
            raise self._reader.failure
        if self.frames.seconds == 0.0 and self.frames.corrupt:
            raise BadAudio("undecodable", packets=self.frames.corrupt)
        self.mixer.finish()
        length = self._useful_length()
        _check_length(length)
        waveforms = tuple(Waveform(samples) for samples in self.mixer.trimmed(length))
        codec = self._track.codec_context.codec.canonical_name
        source = Source(self._name, codec, self._rate, self._channels, waveforms[0].seconds)
        return Recording(waveforms, source, self._warnings(), self.frames.corrupt)

    def _stated_seconds(self) -> float | None:
        """Return the length that the container states, or None where it does not or FFmpeg only guesses."""
        if self._track.duration is not None and self._track.time_base is not None:
            return float(self._track.duration * self._track.time_base)
        return self._container.duration / av.time_base if self._container.duration is not None else None

    def _is_guess(self) -> bool:
        """Say whether FFmpeg divided size by bit rate: raw AAC, or an MP3 without a tag that states its padding."""
        return self._name in _ESTIMATED and not self._track.start_time

    def _refuse_stated(self) -> None:
        """Refuse at once what is too long by its own word; a guess counts when it is far over the limit."""
        stated = self._stated or 0.0
        if not self._is_guess() or stated > 2 * self._limits.seconds:
            self._limits.check_seconds(stated)

    def _plausible_seconds(self) -> float:
        """Return the length to make room for; a small file that claims hours gets room as it grows."""
        return min(self._stated or 0.0, self._limits.seconds, _A_MINUTE + (self._reader.size or 0) / _FEWEST_BYTES)

    def _useful_length(self) -> int:
        """Leave out what the encoder added at the end of an MP4; FFmpeg does so itself for the other containers."""
        length = self.mixer.length
        if self._name != "mp4" or self._stated is None:
            return length
        stated = round(self._stated * SAMPLE_RATE)
        return stated if 0 < length - stated <= _PADDING * SAMPLE_RATE else length

    def _warnings(self) -> tuple[str, ...]:
        found = {"truncated": self._is_truncated(), "corrupt_packets": self.frames.corrupt > self.frames.is_cut}
        return tuple(code for code, holds in found.items() if holds)

    def _is_truncated(self) -> bool:
        if self.frames.is_cut:
            return True
        if self._name == "wav" and self._reader.size is not None:
            header = wav_header(self._reader.head)
            return header is not None and (header.stop or 0) > self._reader.size
        if self._name == "ogg" and (tail := self._reader.tail()) is not None and ogg_is_cut(tail):
            return True
        if self._stated is None or self._is_guess():
            return False
        return self.frames.reached < self._stated * 0.999 - _PADDING

"""Samples of any kind become float32 at 16 kHz, block by block, in memory close to the size of the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soxr

from emotape.audio.waveform import SAMPLE_RATE
from emotape.errors import BadAudio

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emotape.audio.limits import DecodeLimits

# Full scale is 1; beyond this even 32-bit integers stored as floats are exceeded and sums of squares overflow.
LOUDEST: Final = 2.0**32
_QUALITY: Final = "VHQ"
_RATE_CHANGES: Final = 64  # a joined-up recording has a few; each costs a new resampler
_GROWTH: Final = 1.25
BLOCK: Final = 65_536
"""Samples per channel that are gathered before they are resampled."""


def to_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Scale integers of any width to ±1, so that -32768 of int16 is exactly -1; floats keep their values."""
    kind, bits = samples.dtype.kind, samples.dtype.itemsize * 8
    if kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused
            return samples.astype(np.float32, copy=False)
    half = 2.0 ** (bits - 1)
    zero = half if kind == "u" else 0.0
    if bits <= 16:
        return (samples.astype(np.float32) - np.float32(zero)) / np.float32(half)
    return ((samples.astype(np.float64) - zero) / half).astype(np.float32)


def check_samples(samples: NDArray[np.float32]) -> None:
    """Raise BadAudio when a sample is NaN, infinite or absurdly loud; all three survive resampling."""
    if samples.size and not (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):  # NaN compares false
        raise BadAudio("bad_samples")


class GrowingArray:
    """Float32 samples that grow in place: on Linux the pages are moved, not copied, when it is enlarged."""

    def __init__(self, expected: int, limits: DecodeLimits, rows: int) -> None:
        self._limits = limits
        self._rows = rows
        self._array = np.empty(max(expected, BLOCK), np.float32)
        self.length = 0

    def append(self, block: NDArray[np.float32]) -> None:
        """Add samples [n] at the end."""
        needed = self.length + len(block)
        self._limits.check_memory(needed * self._rows * self._array.itemsize)
        if needed > len(self._array):
            most = self._limits.memory // (self._rows * self._array.itemsize)
            self._array.resize(max(needed, min(most, int(len(self._array) * _GROWTH))), refcheck=False)
        self._array[self.length : needed] = block
        self.length = needed

    def trimmed(self, length: int) -> NDArray[np.float32]:
        """Give the array away, cut to at most `length` samples, with the spare memory returned."""
        array = self._array
        array.resize(min(length, self.length), refcheck=False)
        return array

    def taken(self) -> NDArray[np.float32]:
        """Give away a copy of what is there, and begin anew."""
        found = self._array[: self.length].copy()
        self.length = 0
        return found


class Mixer:
    """Gathers frames [c, n] of one recording and makes mono 16 kHz of them, or one such waveform per channel.

    The sample rate may change on the way, and when mixing so may the number of channels.
    """

    def __init__(self, split: int | None, expected: int, limits: DecodeLimits, block: int = BLOCK) -> None:
        """Take the number of channels to keep apart, or None to mix; and the samples expected of each at 16 kHz.

        `block` samples are gathered before they are resampled.
        """
        self._split = split
        self._block = block
        rows = split or 1
        limits.check_memory(expected * rows * 4)
        self._arrays = [GrowingArray(expected, limits, rows) for _ in range(rows)]
        self._pending: list[NDArray[Any]] = []
        self._pending_samples = 0
        self._rate_changes = 0
        self._form: tuple[int, int, np.dtype[Any]] | None = None
        self._resampler: soxr.ResampleStream | None = None

    def add(self, frame: NDArray[Any], rate: int) -> None:
        """Take samples [c, n] at `rate` Hz."""
        form = (rate, frame.shape[0], frame.dtype)
        if self._form is not None and form != self._form:
            self._flush(last=rate != self._form[0])
            self._note_rate(rate != self._form[0])
        self._form = form
        self._pending.append(frame)
        self._pending_samples += frame.shape[1]
        if self._pending_samples >= self._block:
            self._flush(last=False)

    def _note_rate(self, changed: bool) -> None:
        self._rate_changes += changed
        if self._rate_changes > _RATE_CHANGES:
            raise BadAudio("changing_rate", limit=_RATE_CHANGES)

    def finish(self) -> None:
        """Take no more; bring out what the resampler still holds."""
        if self._form is not None:
            self._flush(last=True)

    @property
    def length(self) -> int:
        """Samples at 16 kHz so far."""
        return self._arrays[0].length

    def trimmed(self, length: int) -> tuple[NDArray[np.float32], ...]:
        """Give the waveforms away, each cut to at most `length` samples."""
        return tuple(array.trimmed(length) for array in self._arrays)

    def taken(self) -> tuple[NDArray[np.float32], ...]:
        """Give away what is there so far of each waveform; what comes next follows on it."""
        return tuple(array.taken() for array in self._arrays)

    def _flush(self, *, last: bool) -> None:
        assert self._form is not None  # noqa: S101 - only called with a frame pending
        rate, channels, dtype = self._form
        if self._pending:
            frames = self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending, axis=1)
        else:
            frames = np.empty((channels, 0), dtype)
        self._pending, self._pending_samples = [], 0
        block = self._resample(self._mix(frames), rate, last=last)
        check_samples(block)
        for array, channel in zip(self._arrays, block.T, strict=True):
            array.append(channel)

    def _mix(self, frames: NDArray[Any]) -> NDArray[np.float32]:
        """Return [n, rows]: the channels, or their mean."""
        if self._split is not None and frames.shape[0] != self._split:
            raise BadAudio("changing_channels", before=self._split, after=frames.shape[0])
        mixed = to_float(frames)
        if self._split is None and len(mixed) > 1:
            with np.errstate(invalid="ignore", over="ignore"):  # what is no number any more is refused below
                mixed = mixed.mean(axis=0, keepdims=True)
        return np.ascontiguousarray(mixed.T)

    def _resample(self, block: NDArray[np.float32], rate: int, *, last: bool) -> NDArray[np.float32]:
        if rate == SAMPLE_RATE:
            return block
        if self._resampler is None:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, block.shape[1], "float32", _QUALITY)
        resampled: NDArray[np.float32] = self._resampler.resample_chunk(block, last=last)
        if last:
            self._resampler = None
        return resampled

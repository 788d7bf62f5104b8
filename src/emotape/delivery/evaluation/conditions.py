"""The same recording under harder conditions: over the telephone, in noise, in a room, through codecs, loud, fast.

What is random comes from a seed, the condition and the recording's own samples, so that neither the order nor the names
of the files matter.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.delivery.evaluation.codecs import CODECS, Codec, through

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TELEPHONE_BAND: Final = (300.0, 3400.0)  # Hz
TELEPHONE_RATE: Final = 8000
REVERBERATION: Final = 0.6  # seconds to −60 dB, as in a bare office
DIRECT_TO_REVERBERANT: Final = 0.0  # dB


@dataclass(frozen=True)
class Condition:
    """One way to make a recording harder; `apply` takes samples [n] at 16 kHz and a random generator."""

    name: str
    apply: Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]

    def on(self, waveform: Waveform, seed: int) -> Waveform:
        """Return the recording under this condition. Equal arguments give equal samples."""
        origin = int(waveform.digest()[:16], 16)
        random = np.random.default_rng([seed, zlib.crc32(self.name.encode()), origin])
        return Waveform(np.ascontiguousarray(self.apply(waveform.samples, random), np.float32))


def conditions() -> tuple[Condition, ...]:
    """Return all conditions; a codec that this FFmpeg cannot write is not among them (see `codecs.missing`)."""
    noises = [
        Condition(f"{colour} noise {ratio} dB", partial(_noisy, ratio=ratio, exponent=exponent))
        for colour, exponent in (("white", 0.0), ("pink", 1.0))
        for ratio in (20, 10, 5)
    ]
    return (
        Condition("telephone", lambda samples, _: telephone(samples)),
        *noises,
        Condition("reverb 0.6 s", reverberant),
        *(Condition(codec.name, partial(_coded, codec)) for codec in CODECS if codec.exists),
        *(Condition(f"gain {level:+d} dB", partial(_amplified, level)) for level in (12, -12, -24)),
        *(Condition(f"speed {speed:g}", partial(_sped, speed)) for speed in (0.9, 1.1)),
    )


def telephone(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Limit to the band of a telephone call, sampled 8,000 times a second on the way."""
    narrow = resampled(band_limited(samples, *TELEPHONE_BAND), SAMPLE_RATE, TELEPHONE_RATE)
    return fitted(resampled(narrow, TELEPHONE_RATE, SAMPLE_RATE), len(samples))


def band_limited(samples: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Keep the frequencies between two (Hz), with edges 100 Hz wide."""
    size = 2 * len(samples)
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    gain = np.clip((hertz - low) / 100 + 0.5, 0, 1) * np.clip((high - hertz) / 100 + 0.5, 0, 1)
    limited: NDArray[np.float32] = np.fft.irfft(np.fft.rfft(samples, size) * gain, size).astype(np.float32)
    kept: NDArray[np.float32] = limited[: len(samples)]
    return kept


def coloured_noise(count: int, exponent: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Return `count` samples of unit power whose spectrum falls as frequency^-exponent: 0 is white, 1 is pink."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** (-exponent / 2)
    noise = np.fft.irfft(spectrum, count)
    level: NDArray[np.float64] = noise / np.sqrt(np.mean(noise**2))
    return level


def _noisy(
    samples: NDArray[np.float32], random: np.random.Generator, *, ratio: float, exponent: float
) -> NDArray[np.float32]:
    """Add noise `ratio` dB below the recording's mean power."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    noise = coloured_noise(len(samples), exponent, random) * np.sqrt(power * 10 ** (-ratio / 10))
    noisy: NDArray[np.float32] = (samples + noise).astype(np.float32)
    return noisy


def reverberant(samples: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Put the recording into a synthetic room: the direct sound, and noise behind it that decays exponentially."""
    time = np.arange(1, round(REVERBERATION * SAMPLE_RATE)) / SAMPLE_RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / REVERBERATION)
    tail *= 10 ** (-DIRECT_TO_REVERBERANT / 20) / np.sqrt(np.sum(tail**2))
    response = np.concatenate([[1.0], tail])
    size = len(samples) + len(response) - 1
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return _as_loud(heard, samples)


def _coded(codec: Codec, samples: NDArray[np.float32], _: np.random.Generator) -> NDArray[np.float32]:
    return through(codec, samples)


def _amplified(level: int, samples: NDArray[np.float32], _: np.random.Generator) -> NDArray[np.float32]:
    """Change the level as a recorder does: what is too loud is cut off, and 16 bits are kept."""
    steps = np.round(samples * 10 ** (level / 20) * 32768)
    return (np.clip(steps, -32768, 32767) / 32768).astype(np.float32)


def _sped(speed: float, samples: NDArray[np.float32], _: np.random.Generator) -> NDArray[np.float32]:
    """Play faster or slower, pitch and all."""
    return resampled(samples, SAMPLE_RATE * speed, SAMPLE_RATE)


def resampled(samples: NDArray[np.float32], rate: float, to: float) -> NDArray[np.float32]:
    """Resample with soxr's high quality."""
    import soxr

    found: NDArray[np.float32] = soxr.resample(samples, rate, to, quality="HQ")
    return found


def fitted(samples: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return exactly `count` samples: cut, or filled with silence."""
    return np.pad(samples[:count], (0, max(0, count - len(samples))))


def _as_loud(samples: NDArray[np.float64], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    power = max(float(np.mean(samples**2)), 1e-20)
    factor = np.sqrt(float(np.mean(np.square(wanted, dtype=np.float64))) / power)
    levelled: NDArray[np.float32] = (samples * factor).astype(np.float32)
    return levelled

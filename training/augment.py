"""Waves in, harder waves out: padding, per-clip normalisation, test conditions and random augmentation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

CONDITIONS = ("clean", "telephone", "noise")


def pad(waves: Sequence[npt.NDArray[np.float32]], multiple: int = 320) -> tuple[Tensor, Tensor]:
    """Lay waves of any length side by side: zero-padded [B, T] (T a multiple of ``multiple``) and their samples [B]."""
    samples = torch.tensor([len(wave) for wave in waves])
    padded = torch.zeros(len(waves), math.ceil(int(samples.max()) / multiple) * multiple)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return padded, samples


def inside(samples: Tensor, length: int) -> Tensor:
    """Return a mask [B, length] of the positions that belong to each clip."""
    return torch.arange(length)[None] < samples[:, None]


def normalise(waves: Tensor, samples: Tensor) -> Tensor:
    """Normalise each clip over its own samples (layer norm, eps 1e-5), zero outside: the network's input."""
    mask = inside(samples, waves.shape[1])
    centred = (waves - (waves * mask).sum(1, keepdim=True) / samples[:, None]) * mask
    return centred * torch.rsqrt(centred.square().sum(1, keepdim=True) / samples[:, None] + 1e-5)


def degrade(waves: Tensor, samples: Tensor, condition: str) -> Tensor:
    """Apply a fixed test condition: telephone band with 8-bit mu-law, or pink noise at 10 dB (seeded)."""
    waves = normalise(waves, samples)
    if condition == "telephone":
        waves = mu_law(band_pass(waves, 300.0, 3400.0) * inside(samples, waves.shape[1]))
    elif condition == "noise":
        batch, length = waves.shape
        pink = coloured_noise(batch, length, torch.ones(batch), torch.Generator().manual_seed(1))
        waves = waves + 10 ** (-10 / 20) * pink
    elif condition != "clean":
        raise ValueError(f"unknown condition {condition!r}; one of {CONDITIONS}")
    return normalise(waves, samples)


def band_pass(waves: Tensor, low: float, high: float) -> Tensor:
    """Limit the band with soft edges (hertz) and no shift of phase."""
    size = 1 << (waves.shape[1] - 1).bit_length()
    hertz = torch.linspace(0, 8000, size // 2 + 1)
    gain = torch.sigmoid((hertz - low) / 20) * torch.sigmoid((high - hertz) / 40)
    limited: Tensor = torch.fft.irfft(torch.fft.rfft(waves, n=size) * gain, n=size)[:, : waves.shape[1]]
    return limited


def mu_law(waves: Tensor) -> Tensor:
    """Code and decode with 8-bit mu-law whose full scale is each clip's peak plus 1 dB."""
    scale = waves.abs().amax(1, keepdim=True).clamp_min(1e-6) / 0.9
    level = torch.sign(waves) * torch.log1p(255 * (waves / scale).abs()) / math.log(256)
    level = ((level + 1) / 2 * 255).round() / 255 * 2 - 1
    decoded: Tensor = torch.sign(level) * (256 ** level.abs() - 1) / 255 * scale
    return decoded


def coloured_noise(batch: int, length: int, exponents: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Make unit-variance noise [batch, length] with power ∝ frequency^-exponent (0 white, 1 pink, 2 brown)."""
    size = 1 << (length - 1).bit_length()
    spectrum = torch.fft.rfft(torch.randn(batch, size, generator=generator))
    bins = torch.arange(spectrum.shape[1]).float().clamp_min(1)
    noise = torch.fft.irfft(spectrum * bins[None] ** (-exponents[:, None] / 2), n=size)[:, :length]
    levelled: Tensor = noise / noise.std(1, keepdim=True).clamp_min(1e-9)
    return levelled


class Dice:
    """Random numbers from one seeded generator, a column per clip: everything random in a batch comes from here."""

    def __init__(self, seed: int, batch: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.batch = batch

    def uniform(self, low: float, high: float) -> Tensor:
        """Return [B, 1] numbers between ``low`` and ``high``."""
        return low + (high - low) * torch.rand(self.batch, 1, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        """Return [B, 1] booleans, true with ``probability``."""
        return torch.rand(self.batch, 1, generator=self.generator) < probability


def augment(waves: Tensor, samples: Tensor, dice: Dice) -> Tensor:
    """Make waves [B, T] sound as over a bad line, in a room, through a poor microphone, in noise."""
    waves = add_neighbour(waves, dice)
    waves = normalise(colour_channel(waves, samples, dice), samples)
    snr = dice.uniform(3, 33)
    noise = coloured_noise(len(waves), waves.shape[1], dice.uniform(0, 2)[:, 0], dice.generator)
    waves = waves + dice.chance(0.5) * 10 ** (-snr / 20) * noise
    return normalise(drop_out(waves, samples, dice), samples)


def add_neighbour(waves: Tensor, dice: Dice) -> Tensor:
    """Put another clip of the batch in the background, 10 to 25 dB below."""
    return waves + dice.chance(0.12) * 10 ** (-dice.uniform(10, 25) / 20) * waves.roll(1, 0)


def colour_channel(waves: Tensor, samples: Tensor, dice: Dice) -> Tensor:
    """Apply a room, a tilt and band limits in one pass over the spectrum; some clips become telephone calls."""
    tail = 5960  # samples of reverberation; makes 38 040 of the usual 32 080, so that the transform is 40 000
    size = -(-(waves.shape[1] + tail) // 8000) * 8000
    hertz = torch.linspace(0, 8000, size // 2 + 1)[None]
    telephone = dice.chance(0.22)
    low = torch.where(dice.chance(0.3), dice.uniform(100, 400), torch.tensor(0.0))
    high = torch.where(dice.chance(0.35), dice.uniform(2800, 7300), torch.tensor(9000.0))
    low = torch.where(telephone, dice.uniform(200, 350), low)
    high = torch.where(telephone, dice.uniform(3200, 3700), high)
    tilt = dice.chance(0.6) * dice.uniform(-3, 3)  # dB per octave around 1 kHz
    gain = 10 ** (tilt * torch.log2(hertz.clamp_min(60) / 1000) / 20)
    gain = gain * torch.sigmoid((hertz - low + 40) / 25) * torch.sigmoid((high - hertz) / 80)
    room = torch.fft.rfft(_room(tail, dice), n=size)
    heard = torch.fft.irfft(torch.fft.rfft(waves, n=size) * room * gain, n=size)[:, : waves.shape[1]]
    heard = normalise(heard, samples)
    return torch.where(telephone, mu_law(heard), heard)


def _room(length: int, dice: Dice) -> Tensor:
    """Impulse responses [B, length]: the direct sound, for some clips with decaying noise behind it."""
    seconds = dice.uniform(0.08, 0.68)  # reverberation time: 60 dB down, amplitude e^-6.9
    decay = torch.exp(-6.9 * (torch.arange(length) / 16_000)[None] / seconds)
    response = torch.randn(dice.batch, length, generator=dice.generator) * decay
    response = response / response.square().sum(1, keepdim=True).sqrt()
    response = response * dice.chance(0.4) * 10 ** (-dice.uniform(-2, 12) / 20)
    response[:, 0] += 1
    return response


def drop_out(waves: Tensor, samples: Tensor, dice: Dice) -> Tensor:
    """Silence up to 0.2 s in a quarter of the clips, as after a lost packet."""
    place = torch.arange(waves.shape[1])[None]
    start = dice.uniform(0, 1) * samples[:, None]
    gap = (place >= start) & (place < start + dice.uniform(0, 3200)) & dice.chance(0.25)
    return waves.masked_fill(gap, 0.0)

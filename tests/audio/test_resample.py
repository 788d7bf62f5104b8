"""The resampler against one of very high quality in double precision, and against its own block-wise form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr

from emotape.audio.decode import decode, from_samples
from emotape.audio.waveform import SAMPLE_RATE
from tests.audio.recordings import written

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATES = (8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)


def chirp(rate: int, seconds: float, highest: float) -> NDArray[np.float64]:
    """Return a sweep from 20 Hz to `highest` at half of full scale."""
    time = np.arange(int(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * (20 * time + (highest - 20) * time**2 / (2 * seconds)))


def decibels(signal: NDArray[np.floating], noise: NDArray[np.floating]) -> float:
    return float(10 * np.log10(np.sum(np.square(signal, dtype=float)) / np.sum(np.square(noise, dtype=float))))


@pytest.mark.parametrize("rate", RATES)
def test_a_chirp_is_within_100_db_of_the_best_resampler(rate: int) -> None:
    wave = chirp(rate, 8.0, min(rate, SAMPLE_RATE) / 2)
    reference = soxr.resample(wave, rate, SAMPLE_RATE, "VHQ")
    for samples in (
        from_samples(wave.astype(np.float32), rate).samples,
        decode(written(wave, rate, "WAV", "FLOAT")).waveforms[0].samples,
    ):
        assert len(samples) == len(reference)
        assert decibels(reference, samples - reference) >= 100


@pytest.mark.parametrize("tone", [8_800, 12_000, 20_000])
def test_what_16_khz_cannot_hold_does_not_fold_back(tone: int) -> None:
    wave = np.sin(2 * np.pi * tone * np.arange(44_100) / 44_100).astype(np.float32)
    heard = from_samples(wave, 44_100).samples[800:-800]
    assert decibels(wave, heard) >= 100


def test_the_passband_keeps_its_level() -> None:
    for tone in (100, 1_000, 4_000, 7_000):
        wave = np.sin(2 * np.pi * tone * np.arange(44_100) / 44_100).astype(np.float32)
        heard = from_samples(wave, 44_100).samples[800:-800]
        assert np.sqrt(np.mean(heard**2) * 2) == pytest.approx(1.0, abs=0.001)


def test_16_khz_is_left_alone() -> None:
    wave = np.random.default_rng(2).standard_normal(20_000).astype(np.float32) / 8
    assert np.array_equal(from_samples(wave, SAMPLE_RATE).samples, wave)

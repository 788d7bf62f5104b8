"""Test conditions do what their names say, and chance comes from the seed alone."""

import math

import pytest
import torch

from training.augment import CONDITIONS, Dice, augment, degrade, normalise

SAMPLES = torch.tensor([16_000, 12_000])


def tone(hertz: float) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(16_000) / 16_000).repeat(2, 1)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_gives_normalised_clips_that_end_where_they_ended(condition: str) -> None:
    waves = degrade(torch.randn(2, 16_000), SAMPLES, condition)
    assert waves[1, 12_000:].abs().max() == 0
    assert waves[1, :12_000].std(correction=0) == pytest.approx(1, abs=1e-3)


def test_the_telephone_carries_one_kilohertz_and_not_six() -> None:
    mixed = tone(1000) + tone(6000)
    power = torch.fft.rfft(degrade(mixed, SAMPLES, "telephone")[0]).abs().square()
    assert power[6000] < 1e-3 * power[1000]


def test_noise_is_ten_decibels_below_the_clip() -> None:
    clean = normalise(tone(440), SAMPLES)
    noisy = degrade(tone(440), SAMPLES, "noise")[0]
    share = (noisy @ clean[0] / 16_000) ** 2  # of the noisy clip's unit power
    assert 10 * math.log10(share / (1 - share)) == pytest.approx(10, abs=0.5)


def test_an_unknown_condition_is_an_error() -> None:
    with pytest.raises(ValueError, match="underwater"):
        degrade(tone(440), SAMPLES, "underwater")


def test_the_same_seed_augments_alike_and_another_one_does_not() -> None:
    waves = normalise(torch.randn(2, 16_000), SAMPLES)
    first, again, other = (augment(waves, SAMPLES, Dice(seed, 2)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.isfinite(other).all()

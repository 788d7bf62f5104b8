"""Harder conditions do what their names say, and the same to the same sound every time."""

from __future__ import annotations

import numpy as np
import pytest

from emotape.audio.decode import decode
from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.delivery.evaluation.answering import under
from emotape.delivery.evaluation.codecs import CODECS, Codec, encoded, missing, through
from emotape.delivery.evaluation.conditions import Condition, coloured_noise, conditions
from tests.conftest import AUDIO

BY_NAME = {each.name: each for each in conditions()}


@pytest.fixture(scope="module")
def speech() -> Waveform:
    return decode(AUDIO / "thorsten_angry.mp3").waveforms[0]


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def share_between(samples: np.ndarray, low: float, high: float) -> float:
    """Return the share of the power between two frequencies."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(spectrum[(hertz >= low) & (hertz <= high)].sum() / spectrum.sum())


@pytest.mark.parametrize("name", BY_NAME)
def test_equal_seeds_give_equal_samples_and_a_seed_decides_only_what_is_random(name: str, speech: Waveform) -> None:
    condition = BY_NAME[name]
    first, again, other = (condition.on(speech, seed) for seed in (1, 1, 2))
    assert first.digest() == again.digest()
    assert (first.digest() != other.digest()) == ("noise" in name or "reverb" in name)
    assert first.digest() != speech.digest()
    assert np.isfinite(first.samples).all()


def test_other_sound_gets_other_noise(speech: Waveform) -> None:
    louder = Waveform(2 * speech.samples)
    condition = BY_NAME["white noise 10 dB"]
    noises = [condition.on(sound, 0).samples - sound.samples for sound in (speech, louder)]
    assert abs(np.corrcoef(noises)[0, 1]) < 0.05


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("ratio", [20, 10, 5])
def test_noise_is_as_far_below_the_speech_as_its_name_says(colour: str, ratio: int, speech: Waveform) -> None:
    noisy = BY_NAME[f"{colour} noise {ratio} dB"].on(speech, 0).samples
    found = 10 * np.log10(power(speech.samples) / power(noisy - speech.samples))
    assert found == pytest.approx(ratio, abs=0.01)


def test_pink_noise_has_the_same_power_in_every_octave() -> None:
    noise = coloured_noise(1 << 17, 1.0, np.random.default_rng(0))
    octaves = [share_between(noise, low, 2 * low) for low in (250, 500, 1000, 2000, 4000)]
    assert max(octaves) / min(octaves) < 1.15


def test_the_telephone_leaves_its_band_alone(speech: Waveform) -> None:
    heard = BY_NAME["telephone"].on(speech, 0).samples
    assert len(heard) == len(speech)
    assert share_between(heard, 240, 3500) > 0.999
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    kept = BY_NAME["telephone"].on(Waveform(tone), 0).samples
    np.testing.assert_allclose(kept[2000:-2000], tone[2000:-2000], atol=0.01)


def test_a_room_answers_a_click_with_a_tail_that_falls_sixty_decibels_in_its_time() -> None:
    click = np.zeros(SAMPLE_RATE, np.float32)
    click[0] = 1
    heard = BY_NAME["reverb 0.6 s"].on(Waveform(click), 0).samples.astype(np.float64)
    early, late = (power(heard[start : start + 800]) for start in (800, 5600))  # 0.3 s apart: 30 dB
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=2)
    assert power(heard) == pytest.approx(power(click), rel=1e-3)


def test_gain_is_a_factor_until_full_scale_where_it_cuts(speech: Waveform) -> None:
    quiet = BY_NAME["gain -24 dB"].on(speech, 0).samples
    np.testing.assert_allclose(quiet, speech.samples * 10 ** (-24 / 20), atol=1 / 32768)
    loud = BY_NAME["gain +12 dB"].on(Waveform(np.clip(4 * speech.samples, -1, 1)), 0).samples
    assert loud.min() >= -1
    assert loud.max() <= 1
    assert (np.abs(loud) > 0.9999).mean() > 0.01


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_length_and_pitch_alike(speed: float) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    heard = BY_NAME[f"speed {speed:g}"].on(Waveform(tone), 0).samples
    assert len(heard) == pytest.approx(SAMPLE_RATE / speed, abs=2)
    assert share_between(heard, 1000 * speed - 20, 1000 * speed + 20) > 0.99


@pytest.mark.parametrize("one", CODECS, ids=lambda codec: codec.encoder)
def test_a_codec_is_real_has_about_its_bits_and_keeps_the_speech(one: Codec, speech: Waveform) -> None:
    assert one.exists == (one.name not in missing())
    if not one.exists:
        return
    file = encoded(one, speech.samples)
    assert 0.7 < 8 * len(file) / speech.seconds / one.bits < 1.3
    assert decode(file).source.codec in {"opus", "mp3", "mp3float", "amrnb", "amr_nb"}
    heard = through(one, speech.samples)
    assert abs(len(heard) - len(speech)) < 0.1 * SAMPLE_RATE
    assert power(heard) == pytest.approx(power(speech.samples), rel=0.3)


def test_a_condition_comes_between_decoding_and_the_network(speech: Waveform) -> None:
    negated = Condition("negated", lambda samples, _: -samples)
    recording = under(negated, lambda data, channels: decode(data, channels=channels), 0)(
        AUDIO / "thorsten_angry.mp3", "mix"
    )
    np.testing.assert_array_equal(recording.waveforms[0].samples, -speech.samples)
    assert recording.source == decode(AUDIO / "thorsten_angry.mp3").source

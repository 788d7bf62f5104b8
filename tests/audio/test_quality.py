"""The quality report: levels that can be computed by hand, and a warning for each thing that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from emotape.audio.decode import decode
from emotape.audio.quality import FLOOR_DBFS, assess
from emotape.audio.speech import speech_probabilities
from emotape.audio.waveform import Waveform
from emotape.wording import warning_text
from tests.audio.recordings import DATA

SECONDS = np.arange(32_000) / 16_000


def sine(peak: float) -> Waveform:
    return Waveform((peak * np.sin(2 * np.pi * 200 * SECONDS)).astype(np.float32))


def test_levels_of_a_sine_are_those_of_the_textbook() -> None:
    quality = assess(sine(0.5))
    assert quality.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert quality.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert (quality.clipped_share, quality.silent_share, quality.warnings) == (0.0, 0.0, ())


def test_good_speech_has_no_warnings() -> None:
    waveform = decode(DATA / "jfk.flac").waveforms[0]
    quality = assess(waveform, speech_probabilities(waveform))
    assert quality.warnings == ()
    assert quality.speech_share > 0.5


def test_silence_is_silent_and_its_text_says_why_that_matters() -> None:
    silence = Waveform(np.zeros(16_000, np.float32))
    quality = assess(silence, speech_probabilities(silence))
    assert (quality.rms_dbfs, quality.peak_dbfs, quality.silent_share) == (FLOOR_DBFS, FLOOR_DBFS, 1.0)
    assert quality.warnings == ("silent", "little_speech")
    assert "amplified noise" in warning_text("silent")
    assert "放大" in warning_text("silent", "zh")


def test_clipping_is_counted_across_the_pieces_that_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two neighbours at full scale count wherever a piece ends."""
    samples = np.where(np.random.default_rng(0).random(10_000) < 0.5, 1.0, 0.1).astype(np.float32)
    whole = assess(Waveform(samples.copy())).clipped_share
    monkeypatch.setattr("emotape.audio.quality._AT_ONCE", 7)
    assert assess(Waveform(samples)).clipped_share == whole > 0.2


def test_a_whisper_of_a_signal_is_quiet() -> None:
    assert assess(sine(0.003)).warnings == ("quiet",)


def test_cut_off_peaks_are_clipped_and_a_full_scale_sine_is_not() -> None:
    overdriven = Waveform(np.clip(sine(0.9).samples * 3, -1, 1))
    quality = assess(overdriven)
    assert "clipped" in quality.warnings
    assert quality.clipped_share > 0.3
    assert "clipped" not in assess(sine(0.99)).warnings


def test_half_silence_is_half_silent() -> None:
    wave = sine(0.5).samples.copy()
    wave[:16_000] = 0
    assert assess(Waveform(wave)).silent_share == pytest.approx(0.5, abs=0.01)


def test_music_without_speech_is_noticed() -> None:
    quality = assess(sine(0.5), np.zeros(63, np.float32))
    assert quality.speech_share == 0.0
    assert quality.warnings == ("little_speech",)


@pytest.mark.parametrize("samples", [1, 2, 319, 320, 321, 400])
def test_the_shortest_clips_have_a_report(samples: int) -> None:
    quality = assess(Waveform(np.full(samples, 0.5, np.float32)))
    assert quality.rms_dbfs == pytest.approx(-6.02, abs=0.01)

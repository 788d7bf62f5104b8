"""Windowing: nothing lost, every frame once, cuts where nobody speaks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emotape.audio.decode import decode
from emotape.audio.speech import CHUNK, SPEECH, frame_is_speech, speech_probabilities, speech_seconds
from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.audio.window import Span, WindowOptions, frame_count, split_at_pauses
from emotape.errors import BadRequest
from tests.audio.recordings import DATA

Curve = NDArray[np.float32]


@st.composite
def curves(draw: st.DrawFn, samples: int) -> Curve | None:
    """Draw a speech curve of any shape and, now and then, of the wrong length."""
    kind = draw(st.sampled_from(["none", "noise", "constant", "bursts"]))
    chunks = -(-samples // CHUNK) + draw(st.sampled_from([0, 0, 0, -1, 1, -20, 20]))
    if kind == "none" or chunks < 0:
        return None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "noise":
        return rng.random(chunks, np.float32)
    if kind == "constant":
        return np.full(chunks, draw(st.sampled_from([0.0, 0.35, 0.5, 1.0])), np.float32)
    return np.asarray(np.repeat(rng.random(chunks // 10 + 1) > 0.5, 10)[:chunks], np.float32)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[int, Curve | None, WindowOptions]:
    longest = draw(st.one_of(st.sampled_from([1.0, 30.0]), st.floats(1.0, 60.0)))
    samples = draw(st.integers(400, int(longest * SAMPLE_RATE * 7)))
    return samples, draw(curves(samples)), WindowOptions(longest=longest)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (79, 0), (399, 0), (400, 1), (719, 1), (720, 2)])
def test_a_frame_takes_400_samples_and_each_further_one_320(samples: int, frames: int) -> None:
    assert (frame_count(samples), Span(640, 640 + samples).frames) == (frames, frames)


@settings(max_examples=300, deadline=None)
@given(recordings())
def test_spans_tile_the_frames_of_the_whole_recording(case: tuple[int, Curve | None, WindowOptions]) -> None:
    samples, speech, options = case
    spans = split_at_pauses(samples, speech, options)
    assert (spans[0].start, spans[-1].stop) == (0, samples)
    assert sum(span.frames for span in spans) == frame_count(samples) == (samples - 400) // 320 + 1
    before = 0
    for span in spans:
        assert span.start == 320 * before
        before += span.frames
    for span, following in itertools.pairwise(spans):
        assert span.stop == following.start + 80


@settings(max_examples=300, deadline=None)
@given(recordings())
def test_spans_are_neither_too_long_nor_too_short(case: tuple[int, Curve | None, WindowOptions]) -> None:
    samples, speech, options = case
    longest = options.longest * SAMPLE_RATE
    spans = split_at_pauses(samples, speech, options)
    assert all(span.stop - span.start <= longest for span in spans)
    if samples <= longest:
        assert spans == (Span(0, samples),)
    else:
        assert all(span.stop - span.start >= int(longest) // 4 for span in spans)


def test_the_longest_pause_is_cut_in_its_middle() -> None:
    speech = np.ones(-(-50 * SAMPLE_RATE // CHUNK), np.float32)
    speech[600:605] = 0.1  # 19.2 s
    speech[700:740] = 0.2  # 22.4 to 23.68 s
    speech[900:903] = 0.0  # 28.8 s
    first, second = split_at_pauses(50 * SAMPLE_RATE, speech)
    assert second.start / SAMPLE_RATE == pytest.approx(23.04, abs=0.05)
    assert first.stop == second.start + 80


def test_without_a_pause_the_place_with_the_least_speech_is_cut() -> None:
    speech = np.full(-(-50 * SAMPLE_RATE // CHUNK), 0.9, np.float32)
    speech[650] = 0.5
    _, second = split_at_pauses(50 * SAMPLE_RATE, speech)
    assert second.start // CHUNK == 650


def test_windows_shorter_than_a_second_are_refused() -> None:
    for longest in (0.5, -1.0, float("nan")):
        with pytest.raises(BadRequest, match="bad_window"):
            WindowOptions(longest=longest)


# Speech


@pytest.fixture(scope="module")
def spoken() -> tuple[Waveform, Curve]:
    """Return 2 s of silence, 5 s of speech, 3 s of silence and the first 4 s of the speech again, with the curve."""
    speech = decode(DATA / "jfk.flac").waveforms[0].samples
    parts = (np.zeros(2 * SAMPLE_RATE), speech, np.zeros(3 * SAMPLE_RATE), speech[: 4 * SAMPLE_RATE])
    waveform = Waveform(np.concatenate(parts).astype(np.float32))
    return waveform, speech_probabilities(waveform)


def test_there_is_a_probability_for_every_32_ms(spoken: tuple[Waveform, Curve]) -> None:
    waveform, curve = spoken
    assert curve.dtype == np.float32
    assert len(curve) == -(-len(waveform) // CHUNK)
    assert ((curve >= 0) & (curve <= 1)).all()
    assert len(speech_probabilities(waveform.part(0, CHUNK + 1))) == 2


def test_detection_keeps_no_memory_between_calls(spoken: tuple[Waveform, Curve]) -> None:
    part = spoken[0].part(2 * SAMPLE_RATE, 4 * SAMPLE_RATE)
    assert np.array_equal(speech_probabilities(part), speech_probabilities(part))


def test_speech_and_inserted_silence_are_told_apart(spoken: tuple[Waveform, Curve]) -> None:
    waveform, curve = spoken
    silence = [Span(0, 2 * SAMPLE_RATE), Span(int(7.5 * SAMPLE_RATE), 10 * SAMPLE_RATE)]
    speech = [Span(2 * SAMPLE_RATE, 7 * SAMPLE_RATE), Span(10 * SAMPLE_RATE, 14 * SAMPLE_RATE)]
    assert sum(speech_seconds(span, curve) for span in silence) < 0.2
    assert sum(speech_seconds(span, curve) for span in speech) > 5.0
    whole = speech_seconds(Span(0, len(waveform)), curve)
    assert whole == pytest.approx(sum(speech_seconds(span, curve) for span in [*silence, *speech]), abs=0.6)


def test_a_recording_is_cut_in_the_silence_put_into_it(spoken: tuple[Waveform, Curve]) -> None:
    waveform, curve = spoken
    first, second = split_at_pauses(len(waveform), curve, WindowOptions(longest=12.0))
    assert 7.0 < second.start / SAMPLE_RATE < 10.0
    assert first.stop - 80 == second.start


def test_frames_of_the_inserted_silence_are_silent(spoken: tuple[Waveform, Curve]) -> None:
    waveform, curve = spoken
    frames = frame_count(len(waveform))
    talking = frame_is_speech(frames, curve)
    assert talking.dtype == np.bool_
    assert talking.shape == (frames,)
    assert not talking[: 50 * 2 - 5].any()
    assert not talking[int(50 * 7.5) : 50 * 10 - 5].any()
    assert talking[50 * 2 : 50 * 7].mean() > 0.6


def test_short_pauses_and_wavering_probabilities_do_not_break_speech_up() -> None:
    curve = np.zeros(100, np.float32)
    curve[20:60] = 0.9
    curve[30:34] = 0.4  # wavers, but stays above the lower threshold
    curve[40:44] = 0.0  # 0.13 s: a stop consonant
    talking = frame_is_speech(160, curve)
    edges = np.flatnonzero(np.diff(talking.astype(int)))
    assert len(edges) == 2


@given(st.integers(0, 500), st.lists(st.floats(0, 1, width=32), max_size=300))
def test_there_is_an_answer_for_every_frame_whatever_the_curve(frames: int, curve: list[float]) -> None:
    speech = np.asarray(curve, np.float32)
    talking = frame_is_speech(frames, speech)
    assert talking.shape == (frames,)
    if not (speech >= SPEECH).any():
        assert not talking.any()

"""What the browser draws from: thinned curves, peaks of the sound, scores that are the prediction's own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotape.audio.decode import Source
from emotape.audio.waveform import Waveform
from emotape.delivery.page.answer import Answer
from emotape.delivery.page.curve import POINTS, thin_out, visible_labels
from emotape.delivery.page.view import PEAKS, curve, peaks, view
from emotape.model.labels import OFFICIAL, Label
from tests.page.fake import prediction

if TYPE_CHECKING:
    from emotape.engine.result import Prediction

SOURCE = Source("wav", "pcm", 16_000, 1, 2.0)


@pytest.fixture
def segmented() -> Prediction:
    return prediction(Waveform(np.zeros(32_000, np.float32)), granularity="segment")


def shown(given: Prediction, name: str = "a.wav") -> dict[str, object]:
    answer = Answer(given, Waveform(np.zeros(16_000, np.float32)), SOURCE, name, datetime.now(UTC))
    return view(answer, "sound", {})


def test_the_scores_are_the_predictions_own_and_every_label_has_both_names(segmented: Prediction) -> None:
    seen = shown(segmented)
    assert seen["scores"] == pytest.approx(dict(segmented.scores), abs=1e-6)
    assert [(label["key"], label["en"], label["zh"]) for label in seen["labels"]] == [  # type: ignore[attr-defined]
        (label.key, label.en, label.zh) for label in OFFICIAL
    ]


def test_an_uncertain_answer_is_shown_as_such(segmented: Prediction) -> None:
    for threshold in (None, 0.0, 1.1):
        given_one = replace(segmented, uncertain_below=threshold)
        assert shown(given_one)["uncertain"] == given_one.uncertain == (None if threshold is None else threshold > 1)


@given(st.text(), st.text())
def test_any_file_name_and_any_label_can_be_sent_as_json(name: str, key: str) -> None:
    plain = prediction(Waveform(np.zeros(16_000, np.float32)))
    own = replace(plain, emotion=key, labels=(Label(key, key, key, key, key),), scores={key: 1.0})
    seen = json.loads(json.dumps(shown(own, name)))
    assert (seen["file"], seen["emotion"]) == (name, key)


def test_an_embedding_only_model_has_no_emotion_and_no_curve(segmented: Prediction) -> None:
    seen = shown(replace(segmented, emotion=None, scores={}, labels=(), frames=None, segments=()))
    assert seen["emotion"] is None
    assert seen["curve"] is None


def test_every_line_of_the_curve_has_a_value_for_every_point(segmented: Prediction) -> None:
    drawn = curve(segmented)
    assert drawn is not None
    assert {len(values) for values in drawn["values"].values()} == {len(drawn["seconds"])}
    assert all(0 <= value <= 1000 for values in drawn["values"].values() for value in values)


@given(st.integers(0, 3_000), st.integers(1, 400))
def test_thinning_a_curve_keeps_its_mean_and_its_span(frames: int, points: int) -> None:
    shares = np.random.default_rng(frames).random((frames, 3)).astype(np.float32)
    seconds, means = thin_out(shares, points)
    assert len(seconds) == len(means) == min(frames, points)
    assert np.all(np.diff(seconds) > 0)
    if frames:
        edges = np.unique(np.linspace(0, frames, len(seconds) + 1).round().astype(int))
        weighted = np.average(means, axis=0, weights=np.diff(edges))
        assert np.allclose(weighted, shares.mean(axis=0), atol=1e-5)
        assert 0 < seconds[0] <= seconds[-1] < frames * 0.02


def test_a_two_hour_curve_has_no_more_points_than_a_screen_can_show() -> None:
    seconds, _ = thin_out(np.full((2 * 3600 * 50, 9), 1 / 9, np.float32))
    assert len(seconds) == POINTS


def test_labels_that_never_matter_are_left_out_of_the_curve(segmented: Prediction) -> None:
    frames = np.zeros((10, len(OFFICIAL)), np.float32)
    frames[:, 3] = 1.0
    assert [label.key for _, label in visible_labels(replace(segmented, frames=frames))] == ["happy"]
    assert visible_labels(replace(segmented, frames=None)) == []


@given(st.integers(1, 5_000))
def test_the_drawn_sound_has_its_loudest_moment_where_the_sound_has(samples: int) -> None:
    wave = 0.9 * np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    heights = peaks(Waveform(wave))
    assert len(heights) <= min(samples, PEAKS)
    assert max(heights) == 100 or np.abs(wave).max() < 0.25
    assert min(heights) >= 0

"""The HTML of answers and errors: complete, escaped, in the right language."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotape.audio.waveform import Waveform
from emotape.delivery.page import render
from emotape.delivery.page.curve import POINTS, thin_out, visible_labels
from emotape.errors import BadRequest
from emotape.model.labels import OFFICIAL, Label
from tests.page.fake import prediction

if TYPE_CHECKING:
    from emotape.engine.result import Prediction
    from emotape.wording import Language

LANGUAGES: tuple[Language, ...] = ("zh", "en")


class Seen(HTMLParser):
    """Texts, and tags that were opened and not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.unbalanced = 0
        self.feed(html)

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.unbalanced += 1

    def handle_endtag(self, _: str) -> None:
        self.unbalanced -= 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def segmented() -> Prediction:
    return prediction(Waveform(np.zeros(32_000, np.float32)), granularity="segment")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_official_label_has_a_bar_with_its_name_and_score(segmented: Prediction, language: Language) -> None:
    seen = Seen(render.score_bars(segmented, language))
    text = "".join(seen.texts)
    assert seen.unbalanced == 0
    for label in OFFICIAL:
        assert label.name(language) in text
        assert f"{segmented.scores[label.key]:.1%}" in text


def test_the_verdict_names_the_emotion_in_both_languages(segmented: Prediction) -> None:
    surprised = replace(segmented, emotion="surprised", confidence=0.875)
    assert "惊讶 Surprised" in render.verdict(surprised, "zh")
    assert "87.5%" in render.verdict(surprised, "en")
    assert "惊讶" not in render.verdict(surprised, "en")


def test_an_embedding_only_model_gets_a_sentence_instead_of_an_emotion(segmented: Prediction) -> None:
    empty = replace(segmented, emotion=None, scores={}, labels=())
    assert "embeddings" in render.verdict(empty, "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_segment_table_has_a_row_for_every_segment_and_names_silence(
    segmented: Prediction, language: Language
) -> None:
    seen = Seen(render.segment_table(segmented, language))
    assert seen.unbalanced == 0
    assert seen.tags.count("tr") == 1 + len(segmented.segments)
    assert {"zh": "静音", "en": "silence"}[language] in seen.texts


@given(st.text(min_size=1))
def test_nothing_from_outside_becomes_markup(words: str) -> None:
    own = Label(words, words, words, words, words)
    waveform = Waveform(np.zeros(16_000, np.float32))
    plain = replace(prediction(waveform), emotion="x", labels=(Label("x", "x", "x", "x", "x"),), scores={"x": 1.0})
    hostile = replace(plain, emotion=words, labels=(own,), scores={words: 1.0})
    for draw in (render.verdict, render.score_bars):
        assert Seen(draw(hostile, "zh")).tags == Seen(draw(plain, "zh")).tags


def test_an_error_card_shows_message_cause_cure_and_code() -> None:
    error = BadRequest("serve_port_busy", host="<b>host</b>", port=80, other=81)
    card = render.error_card(error, "en")
    text = error.text("en")
    seen = Seen(card)
    assert "b" not in seen.tags
    assert {text.message, text.cause, "serve_port_busy"} <= set(seen.texts)


def test_a_command_in_a_sentence_is_set_as_one() -> None:
    assert render.with_commands("run `a < b` now") == "run <code>a &lt; b</code> now"


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

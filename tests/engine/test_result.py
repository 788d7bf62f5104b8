"""From logits to predictions: masks, windows, segments."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emotape.engine.result import FRAME_SECONDS, Scores, join_windows, softmax
from emotape.engine.runner import ClipScores
from emotape.engine.segments import SegmentOptions, segments
from emotape.model.labels import OFFICIAL, Label, label_of_token

HAPPY, SAD = OFFICIAL[3], OFFICIAL[6]


def clip_scores(frame_logits: np.ndarray) -> ClipScores:
    logits = frame_logits.astype(np.float32)
    return ClipScores(logits.mean(0)[:2], logits.mean(0), logits, logits[:, :2])


def test_scores_are_the_softmax_over_used_labels_in_the_official_order() -> None:
    """A model with labels with its own order, an unused token and few classes still gives all nine labels."""
    labels = (SAD, label_of_token("unuse_0"), HAPPY)
    scores = join_windows([clip_scores(np.array([[1.0, 50.0, 2.0]]))], [1.0], labels)
    found = scores.by_key(scores.probabilities)
    assert list(found) == [label.key for label in OFFICIAL]
    assert abs(found["happy"] / found["sad"] - np.e) < 1e-5
    assert sum(found.values()) == found["happy"] + found["sad"]
    assert abs(sum(found.values()) - 1) < 1e-6


def test_own_labels_follow_the_official_ones() -> None:
    """A model adapted to other emotions shows them, after nine zeros."""
    own = Label("bored", "bored", "无聊", "无聊", "🏷️")
    scores = join_windows([clip_scores(np.array([[3.0, 0.0]]))], [1.0], (own, HAPPY))
    assert [label.key for label in scores.labels][-1] == "bored"
    assert scores.probabilities.argmax() == 9


def test_windows_count_by_their_speech() -> None:
    """Probabilities and embeddings are weighted means; without any speech the weights are equal."""
    one, other = clip_scores(np.array([[4.0, 0.0]] * 3)), clip_scores(np.array([[0.0, 4.0]] * 2))
    scores = join_windows([one, other], [3.0, 1.0], (HAPPY, SAD))
    alone = [softmax(clip.logits[None])[0] for clip in (one, other) if clip.logits is not None]
    np.testing.assert_allclose(scores.probabilities[[3, 6]], 0.75 * alone[0] + 0.25 * alone[1], rtol=1e-6)
    np.testing.assert_allclose(scores.embedding, 0.75 * one.embedding + 0.25 * other.embedding, rtol=1e-6)
    assert scores.frame_logits.shape == (5, 9)
    assert scores.frame_embeddings is not None
    assert len(scores.frame_embeddings) == 5
    silent = join_windows([one, other], [0.0, 0.0], (HAPPY, SAD))
    np.testing.assert_allclose(silent.embedding, 0.5 * one.embedding + 0.5 * other.embedding, rtol=1e-6)


def test_one_window_is_the_network_s_own_answer() -> None:
    """No weight, however odd, changes what a single window says."""
    clip = clip_scores(np.random.default_rng(0).standard_normal((7, 9)))
    scores = join_windows([clip], [0.3], OFFICIAL)
    assert clip.logits is not None
    np.testing.assert_array_equal(scores.probabilities, softmax(clip.logits))
    np.testing.assert_array_equal(scores.embedding, clip.embedding)


def scores_of(frame_logits: np.ndarray) -> Scores:
    return join_windows([clip_scores(frame_logits)], [1.0], OFFICIAL)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 400), st.just(9)), elements=st.floats(-5, 5)),
    st.integers(0, 2**32 - 1),
)
def test_segments_tile_the_recording(frame_logits: np.ndarray, seed: int) -> None:
    """Whatever the scores and the speech, segments follow one another from 0 to the end, and neighbours differ."""
    frames = len(frame_logits)
    switches = np.random.default_rng(seed).random(frames) < 0.05
    speech = (np.cumsum(switches) % 2).astype(bool)
    seconds = frames * FRAME_SECONDS + 0.013
    found = segments(scores_of(frame_logits), speech, seconds)
    assert found[0].start == 0
    assert found[-1].stop == seconds
    for one, after in itertools.pairwise(found):
        assert one.stop == after.start > one.start
        assert one.emotion != after.emotion
    for segment in found:
        if segment.emotion is None:
            assert segment.scores == {}
        else:
            assert segment.confidence == segment.scores[segment.emotion] == max(segment.scores.values())


def test_segments_follow_the_emotion_and_know_silence() -> None:
    """Two seconds happy, one silent, two sad, with a flicker that is too short to count."""
    frame_logits = np.zeros((250, 9))
    frame_logits[:100, 3] = frame_logits[150:, 6] = 5.0
    frame_logits[40:45] = 0.0
    frame_logits[40:45, 0] = 6.0
    speech = np.ones(250, bool)
    speech[100:150] = False
    found = segments(scores_of(frame_logits), speech, 5.0, SegmentOptions(smoothing=0.1))
    assert [(round(part.start, 2), round(part.stop, 2), part.emotion) for part in found] == [
        (0.0, 2.0, "happy"), (2.0, 3.0, None), (3.0, 5.0, "sad"),
    ]  # fmt: skip


def test_emotions_change_without_a_pause_and_short_ones_join_their_neighbours() -> None:
    """One too short joins what came before it; at the start, what comes after."""
    frame_logits = np.zeros((240, 9))
    for start, stop, label in ((0, 10, 0), (10, 100, 3), (100, 110, 0), (110, 120, 3), (120, 240, 6)):
        frame_logits[start:stop, label] = 5.0
    found = segments(scores_of(frame_logits), np.ones(240, bool), 4.8, SegmentOptions(smoothing=0.02, shortest=0.5))
    assert [(round(part.start, 2), round(part.stop, 2), part.emotion) for part in found] == [
        (0.0, 2.4, "happy"), (2.4, 4.8, "sad"),
    ]  # fmt: skip
    found = segments(scores_of(frame_logits), np.ones(240, bool), 4.8, SegmentOptions(smoothing=0.02, shortest=0.2))
    assert [part.emotion for part in found] == ["angry", "happy", "angry", "happy", "sad"]


def test_one_segment_over_everything_says_what_the_utterance_says() -> None:
    """A segment's scores are the softmax of its mean logits, so the whole recording as one segment is the utterance."""
    frame_logits = np.random.default_rng(1).standard_normal((60, 9)) * 0.1
    frame_logits[:, 4] += 5
    scores = scores_of(frame_logits)
    (segment,) = segments(scores, np.ones(60, bool), 1.2)
    for key, value in scores.by_key(scores.probabilities).items():
        assert abs(segment.scores[key] - value) < 1e-6

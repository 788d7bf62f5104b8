"""Recall, calibration and soft labels mean what they say."""

import numpy as np
import pytest
import torch

from training.assess import calibration_error, interval
from training.corpora import EMOTIONS, UNLABELLED, Clip
from training.probe import balanced_weights, recall, soft_labels


def clip(speaker: str, emotion: int, corpus: str = "a") -> Clip:
    return Clip(corpus, "", speaker, emotion, "train", 0, 0)


def test_recall_weighs_classes_alike_and_ignores_classes_that_do_not_occur() -> None:
    emotions = np.array([0, 0, 0, 1])
    logits = np.zeros((4, 7), np.float32)
    logits[:, 6] = 9  # no clip of this class: it cannot be chosen
    logits[:, 0] = 1
    assert recall(emotions, logits) == 0.5


def test_confidence_that_is_right_as_often_as_it_says_has_no_error() -> None:
    logits = np.tile(np.log(np.array([[0.75, 0.25]], np.float32)), (4, 1))
    assert calibration_error(np.array([0, 0, 0, 1]), logits) == pytest.approx(0, abs=1e-6)
    assert calibration_error(np.array([1, 1, 1, 1]), logits) == pytest.approx(0.75, abs=1e-6)


def test_the_interval_contains_the_recall() -> None:
    random = np.random.default_rng(0)
    emotions, logits = random.integers(0, 7, 200), random.normal(size=(200, 7)).astype(np.float32)
    low, high = interval(emotions, logits)
    assert low <= recall(emotions, logits) <= high


def test_corpora_weigh_their_shares_whatever_their_size() -> None:
    clips = [clip("1", 0), clip("1", 0), clip("1", 1), clip("2", 0, "b"), clip("2", 1, "b")]
    weights = balanced_weights(clips, {"a": 0.5, "b": 0.5})
    assert weights[:3].sum() == pytest.approx(0.5)
    assert weights[0] + weights[1] == pytest.approx(weights[2])


def test_a_soft_label_never_saw_its_own_speaker() -> None:
    """A feature that gives away one speaker's emotion, and tells nothing of the others', must not help on that one."""
    torch.manual_seed(0)
    clips = [clip(str(speaker), emotion) for speaker in range(6) for emotion in (0, 1)] * 20
    features = torch.randn(len(clips), 1)
    own = torch.tensor([one.speaker == "3" for one in clips])
    emotions = torch.tensor([one.emotion for one in clips])
    features[own, 0] += (10.0 * emotions - 5.0)[own]
    soft, _ = soft_labels(clips, features, {"a": 1.0})
    assert soft[own, emotions[own]].mean() < 0.8


def test_unlabelled_clips_get_soft_labels_too() -> None:
    clips = [clip(str(speaker), emotion) for speaker in range(6) for emotion in (0, 1)] + [clip("9", UNLABELLED)]
    soft, quality = soft_labels(clips, torch.randn(len(clips), 4), {"a": 1.0})
    assert soft.shape == (len(clips), len(EMOTIONS))
    assert soft[-1].sum() == pytest.approx(1)
    assert 0 <= quality["balanced accuracy"] <= 1

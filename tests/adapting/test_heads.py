"""Heads: standardisation folded in, the frame law where it holds and where it does not, and the figures on dev."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotape.delivery.adapting.heads import Examples, Head, fit_linear, folded, standards
from emotape.delivery.adapting.measure import macro_recall, recall_interval, surprise, temperature_of
from emotape.delivery.adapting.mlp import class_weights, fit_mlp
from emotape.engine.result import softmax
from emotape.model.dims import read_dims
from emotape.model.encoder import MlpHead, classified, make_head
from tests.conftest import GOLDEN


def clusters(classes: int, count: int = 60, width: int = 12, seed: int = 1) -> Examples:
    """Return embeddings around a centre of each class, on scales that differ by dimension; the last never varies."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    centres = 2 * np.random.default_rng(0).standard_normal((classes, width))
    vectors = (centres[truth] + random.standard_normal((count, width))) * np.geomspace(0.01, 100, width) + 5
    vectors[:, -1] = 7
    return Examples(vectors.astype(np.float32), truth)


def network_head(head: Head, width: int) -> torch.nn.Linear:
    """Return a head as the network holds it."""
    dims = replace(read_dims(GOLDEN / "large_like" / "config.yaml", 9), embed_dim=width)
    made = make_head(replace(dims, classes=len(head.bias), head_hidden=head.width))
    assert made is not None
    made.load_state_dict({name: torch.from_numpy(values) for name, values in head.state.items()})
    return made


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_linear_head_says_on_plain_embeddings_what_the_regression_says_on_standardised_ones(classes: int) -> None:
    train, dev = clusters(classes), clusters(classes, seed=2)
    head = fit_linear(train, dev, classes)
    regression = LogisticRegression(C=head.chosen["C"], class_weight="balanced", max_iter=2000)
    wanted = make_pipeline(StandardScaler(), regression).fit(train.vectors, train.classes)
    found = softmax(head.logits(dev.vectors))
    np.testing.assert_allclose(found, wanted.predict_proba(dev.vectors), atol=1e-3)


def test_folding_changes_no_logit() -> None:
    train, random = clusters(4), np.random.default_rng(3)
    weight, bias = random.standard_normal((4, 12)), random.standard_normal(4)
    mean, spread = standards(train.vectors)
    plain_weight, plain_bias = folded(weight, bias, mean, spread)
    wanted = (train.vectors - mean) / spread @ weight.T + bias
    np.testing.assert_allclose(train.vectors @ plain_weight.T + plain_bias, wanted, atol=0.02)


def test_a_head_with_a_hidden_layer_says_in_the_network_what_it_said_in_training() -> None:
    train, dev = clusters(3), clusters(3, seed=2)
    head = fit_mlp(train, dev, 3, seed=0)
    made = network_head(head, 12)
    assert isinstance(made, MlpHead)
    with torch.no_grad():
        found = classified(made, torch.from_numpy(dev.vectors)).numpy()
    np.testing.assert_allclose(found, head.logits(dev.vectors), atol=1e-3)
    assert macro_recall(dev.classes, found.argmax(1)) > 0.9


def test_the_mean_of_frame_logits_is_the_utterances_with_a_linear_head_alone() -> None:
    """With a hidden layer the utterance's scores are the head of the mean vector, and frames have their own."""
    train, dev = clusters(3), clusters(3, seed=2)
    frames = torch.from_numpy(dev.vectors)
    apart = {}
    for head in (fit_linear(train, dev, 3), fit_mlp(train, dev, 3, seed=0)):
        made = network_head(head, 12)
        with torch.no_grad():
            each = classified(made, frames)
            difference = each.mean(0) - classified(made, frames.mean(0))
        apart[head.kind] = float(difference.abs().max() / each.abs().max())
    assert apart["linear"] < 1e-4
    assert apart["mlp"] > 1e-3


def test_the_same_seed_gives_the_same_head_and_leaves_torchs_own_chance_alone() -> None:
    train, dev = clusters(3), clusters(3, seed=2)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = fit_mlp(train, dev, 3, seed=4), fit_mlp(train, dev, 3, seed=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, values in first.state.items():
        np.testing.assert_array_equal(values, second.state[name])
    assert any(
        not np.array_equal(fit_mlp(train, dev, 3, seed=5).state[name], first.state[name]) for name in first.state
    )


@given(st.lists(st.integers(0, 3), min_size=4, max_size=60))
def test_class_weights_give_every_class_the_same_say(drawn: list[int]) -> None:
    classes = np.array(drawn)
    weights = class_weights(classes, 4).numpy()
    says = [weights[each] * (classes == each).sum() for each in np.unique(classes)]
    np.testing.assert_allclose(says, says[0], rtol=1e-5)


@settings(deadline=None, max_examples=10)
@given(st.floats(0.3, 5))
def test_the_temperature_undoes_one_that_was_put_in(factor: float) -> None:
    random = np.random.default_rng(0)
    logits = 2 * random.standard_normal((4000, 4))
    truth = np.array([random.choice(4, p=row / row.sum()) for row in softmax(logits).astype(float)])
    assert temperature_of(truth, logits * factor) == pytest.approx(factor, rel=0.1)


def test_too_few_recordings_leave_the_temperature_alone() -> None:
    assert temperature_of(np.array([0, 1, 0]), np.array([[9.0, 0.0], [0.0, 9.0], [0.0, 9.0]])) == 1


def test_an_interval_holds_its_value_and_narrows_with_more_recordings() -> None:
    truth = np.arange(400) % 4
    found = np.where(np.random.default_rng(0).random(400) < 0.7, truth, (truth + 1) % 4)
    many = recall_interval(truth, found, [""] * 400, seed=1)
    few = recall_interval(truth[:40], found[:40], [""] * 40, seed=1)
    assert many.low <= many.value <= many.high
    assert many.high - many.low < few.high - few.low
    assert many.over == "recording"
    assert recall_interval(truth, found, [f"s{place % 10}" for place in range(400)], seed=1).over == "speaker"


def test_recall_counts_classes_alike_and_certainty_about_the_truth_surprises_least() -> None:
    truth = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    assert macro_recall(truth, np.zeros(8, int)) == 0.5
    right = np.eye(2)[truth] * 5
    assert surprise(truth, right) < surprise(truth, right / 2) < surprise(truth, -right)

"""What an evaluation draws, fits and flags: each is a law that holds for any predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.client.answers import prediction_of
from emotape.delivery.clock import local_now
from emotape.delivery.evaluation.bootstrap import MEASURES, draws, interval, measure, units
from emotape.delivery.evaluation.calibration import (
    BINS,
    FEWEST,
    area_under_risk,
    fit_temperature,
    ideal_error,
    risk_coverage,
    tempered,
    threshold_for,
)
from emotape.delivery.evaluation.figures import figures_of
from emotape.delivery.evaluation.manifest import Row
from emotape.delivery.evaluation.protocol import OVER_FOLDS, Rules, part
from emotape.delivery.evaluation.record import Judgement, Material, evaluated
from emotape.delivery.evaluation.report import json_record
from emotape.delivery.evaluation.robustness import hardened
from emotape.delivery.evaluation.table import Table, tabulate
from emotape.delivery.export import document
from emotape.errors import BadRequest
from emotape.model.labels import OFFICIAL_KEYS
from tests.delivery.fakes import make_prediction

if TYPE_CHECKING:
    from emotape.delivery.evaluation.protocol import Scored

SHARES = st.lists(st.floats(0.001, 1), min_size=9, max_size=9).map(
    lambda shares: {key: share / sum(shares) for key, share in zip(OFFICIAL_KEYS, shares, strict=True)}
)
SCORED = st.lists(st.tuples(st.sampled_from(OFFICIAL_KEYS[:4]), SHARES), min_size=2, max_size=30)
CONFIDENCES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def table_of(scored: list[tuple[str, dict[str, float]]], *, restrict: bool = True) -> Table:
    truth = [label for label, _ in scored]
    return tabulate(truth, [scores for _, scores in scored], sorted(set(truth)) if restrict else None)


def columns(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


def rows(count: int, corpus: str = "", speakers: int = 0, folds: int = 1) -> list[Scored]:
    """Return scored rows of a seeded model that is right more often than not."""
    random = np.random.default_rng(count)
    made: list[Scored] = []
    for line in range(count):
        label = OFFICIAL_KEYS[line % 3]
        logits = random.standard_normal(9) + 1.5 * np.array([key == label for key in OFFICIAL_KEYS])
        shares = np.exp(logits) / np.exp(logits).sum()
        speaker = str(line % speakers) if speakers else ""
        row = Row(line, f"{line}.wav", Path(f"{line}.wav"), label, speaker, None, corpus, str(line % folds))
        made.append((row, dict(zip(OFFICIAL_KEYS, shares.tolist(), strict=True))))
    return made


@settings(deadline=None, max_examples=25)
@given(SCORED, st.booleans(), st.data())
def test_measuring_a_draw_is_measuring_its_recordings(
    scored: list[tuple[str, dict[str, float]]], restrict: bool, data: st.DataObject
) -> None:
    """Weights say how often each recording counts: repeated rows have exactly the figures of their weights."""
    table = table_of(scored, restrict=restrict)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(scored), max_size=len(scored))))
    for given_weights in (np.ones(len(scored), int), weights):
        if given_weights.sum():
            found = measure(table, given_weights[None].astype(float), BINS)
            wanted = figures_of(table.rows(np.repeat(np.arange(len(scored)), given_weights)))
            for name in MEASURES:
                assert found[name][0] == pytest.approx(getattr(wanted, name), abs=1e-9)


def test_a_draw_takes_speakers_whole_within_their_corpus_and_is_the_same_for_the_same_seed() -> None:
    speakers = [str(place % 7) for place in range(70)] + ["a", "b"] * 15
    names = ["one"] * 70 + ["two"] * 30
    drawn = units(speakers, names)
    assert drawn.kinds == {"one": "speaker", "two": "recording"}
    weights = draws(drawn, seed=3, count=200)
    for speaker in range(7):
        assert (weights[:, speaker:70:7] == weights[:, [speaker]]).all()
    assert (weights[:, :70].sum(1) == 70).all()
    assert (weights[:, 70:].sum(1) == 30).all()
    assert np.array_equal(weights, draws(drawn, seed=3, count=200))
    assert not np.array_equal(weights, draws(drawn, seed=4, count=200))
    assert units(["", *speakers[1:]], names).kinds["one"] == "recording"


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of 200 samples of a model that is right 7 times in 10, about 95 % have 0.7 in their interval."""
    random = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        right = random.random(80) < 0.7
        counts = draws(units([""] * 80, [""] * 80), seed, 300)
        low, high = interval(counts @ right / 80)
        held += low <= 0.7 <= high
    assert 0.89 <= held / 200 <= 0.99


def answered(scored: list[Scored]) -> tuple[Judgement, ...]:
    return tuple(Judgement(row, make_prediction(scores=scores), None) for row, scores in scored)


def test_corpora_and_folds_are_measured_for_themselves() -> None:
    """A corpus's figures are those it has alone; mean and deviation are those over its folds."""
    first, second = rows(60, "one", speakers=6, folds=3), rows(30, "two")
    found = evaluated(Material(answered(first + second)), Rules()).corpora
    alone = part(second, Rules())
    assert found["two"].part.figures.uar == alone.figures.uar
    assert found["two"].part.intervals == alone.intervals
    assert found["two"].part.folds == {}
    one = found["one"].part
    assert sum(fold.n for fold in one.folds.values()) == one.figures.n == 60
    for name in OVER_FOLDS:
        values = [getattr(fold, name) for fold in one.folds.values()]
        assert one.spread[name].mean == pytest.approx(np.mean(values))
        assert one.spread[name].deviation == pytest.approx(np.std(values, ddof=1))
        low, high = one.intervals[name]
        assert low <= getattr(one.figures, name) <= high


def test_the_fitted_temperature_is_the_likeliest_and_finds_one_that_was_put_in() -> None:
    random = np.random.default_rng(1)
    logits = 2 * random.standard_normal((4000, 7))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([random.choice(7, p=row) for row in honest])
    for put_in in (0.4, 1.0, 2.5):
        shares = tempered(honest, put_in)
        found = fit_temperature(shares, truth)
        assert found == pytest.approx(1 / put_in, rel=0.08)
        each = np.arange(len(truth))
        least = -np.log(tempered(shares, found)[each, truth]).mean()
        assert all(least <= -np.log(tempered(shares, found * step)[each, truth]).mean() for step in (0.98, 1.02))


def test_a_temperature_of_one_changes_nothing_and_none_changes_the_order() -> None:
    shares = np.random.default_rng(2).dirichlet(np.ones(9), 50)
    np.testing.assert_allclose(tempered(shares, 1.0), shares, atol=1e-12)
    for temperature in (0.2, 5.0):
        assert (tempered(shares, temperature).argsort(1) == shares.argsort(1)).all()


def test_a_temperature_has_bounds_and_needs_recordings() -> None:
    """A model that is always right would be made ever surer, one that is always wrong ever less sure."""
    shares = np.tile([0.6, 0.4], (FEWEST, 1))
    assert fit_temperature(shares, np.zeros(FEWEST, int)) == 0.05
    assert fit_temperature(shares, np.ones(FEWEST, int)) == 20.0
    with pytest.raises(BadRequest, match="too_few_to_fit"):
        fit_temperature(shares[1:], np.zeros(FEWEST - 1, int))


@given(CONFIDENCES, st.floats(0.01, 1))
def test_a_threshold_leaves_as_many_certain_as_asked_and_a_higher_one_would_not(
    pairs: list[tuple[float, bool]], coverage: float
) -> None:
    confidence, correct = columns(pairs)
    found = threshold_for(coverage, confidence, correct)
    certain = confidence >= found.below
    assert found.coverage == certain.mean() >= coverage - 1e-9
    assert found.accuracy == correct[certain].mean()
    assert found.n == len(pairs)
    assert (confidence > found.below + 1e-6).mean() < coverage or not (confidence > found.below + 1e-6).any()


@given(st.floats(0, 1), st.none() | st.floats(0, 1))
def test_the_flag_is_exactly_confidence_below_the_threshold(confidence: float, threshold: float | None) -> None:
    prediction = make_prediction(confidence=confidence, uncertain_below=threshold)
    assert prediction.uncertain == (None if threshold is None else confidence < threshold)
    assert make_prediction(emotion=None, uncertain_below=threshold).uncertain is None


def test_the_flag_reaches_json_and_comes_back_from_a_server() -> None:
    for threshold in (None, 0.5, 0.9):
        made = make_prediction(uncertain_below=threshold)
        shown = document("a.wav", made, local_now(), {})
        facts = shown["details"]
        assert facts.get("uncertain") == made.uncertain
        assert ("uncertain" in facts) == ("uncertain_below" in facts) == (threshold is not None)
        assert prediction_of(shown).uncertain == made.uncertain


@given(CONFIDENCES)
def test_the_risk_coverage_curve_ends_at_all_recordings_and_their_errors(pairs: list[tuple[float, bool]]) -> None:
    confidence, correct = columns(pairs)
    curve = risk_coverage(confidence, correct)
    assert curve[-1][0] == 1.0
    assert curve[-1][1] == pytest.approx(1 - correct.mean())
    assert len(curve) == len(set(confidence.tolist()))
    for covered, risk in curve:
        kept = np.sort(confidence)[::-1][round(covered * len(pairs)) - 1]
        assert risk == pytest.approx(1 - correct[confidence >= kept].mean())
    assert 0 <= area_under_risk(curve) <= 1


def test_even_an_ideal_model_has_a_calibration_error_that_shrinks_with_the_recordings() -> None:
    random = np.random.default_rng(5)
    few, many = (ideal_error(random.uniform(0.2, 1, count), 10, 0) for count in (100, 10_000))
    assert few[0] > 5 * many[0] > 0
    assert few[1] > few[0]
    assert ideal_error(np.ones(50), 10, 0) == (0.0, 0.0)


def test_a_condition_that_changes_nothing_costs_exactly_nothing_and_pairs_go_by_row() -> None:
    clean = rows(40)
    same = hardened("same", clean, clean[::-1], Rules())
    assert same is not None
    assert same.lost == {"uar": 0.0, "accuracy": 0.0}
    assert same.intervals == {"uar": (0.0, 0.0), "accuracy": (0.0, 0.0)}
    part_only = hardened("half", clean, clean[:20], Rules())
    assert part_only is not None
    assert part_only.figures.n == 20
    assert hardened("none", clean, [], Rules()) is None
    always_angry = [(row, {key: float(key == "angry") for key in OFFICIAL_KEYS}) for row, _ in clean]
    broken = hardened("broken", clean, always_angry, Rules())
    assert broken is not None
    assert broken.figures.uar == pytest.approx(1 / 3)
    assert broken.intervals["uar"][0] > 0


def test_the_model_s_own_flag_is_counted() -> None:
    made = [(0.9, "happy"), (0.8, "happy"), (0.3, "sad"), (0.2, "happy")]
    judged = tuple(
        Judgement(Row(line, "a", Path("a"), label), make_prediction(confidence=confidence, uncertain_below=0.5), None)
        for line, (confidence, label) in enumerate(made)
    )
    record = json_record(evaluated(Material(judged), Rules()))
    assert record["uncertain"] == {"below": 0.5, "coverage": 0.5, "accuracy": 1.0, "accuracy_of_all": 0.75}

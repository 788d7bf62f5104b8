"""Evaluation: figures equal their definitions, a manifest is read strictly, and a record holds them all."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emotape.delivery.evaluation.calibration import BINS, calibration_error, reliability
from emotape.delivery.evaluation.figures import figures, summary
from emotape.delivery.evaluation.manifest import Choice, Row, choose, left_out, read_manifest, unknown_labels
from emotape.delivery.evaluation.names import LabelNames, label_names
from emotape.delivery.evaluation.protocol import Rules
from emotape.delivery.evaluation.record import Judgement, Material, evaluated
from emotape.delivery.evaluation.report import json_record, write_record
from emotape.errors import BadAudio, BadRequest
from emotape.model.labels import OFFICIAL, OFFICIAL_KEYS, Label
from tests.delivery.fakes import make_prediction

if TYPE_CHECKING:
    from collections.abc import Callable

Scored = list[tuple[str, dict[str, float]]]
KEYS = st.sampled_from(OFFICIAL_KEYS)
SCORES = st.lists(st.floats(0.001, 1), min_size=9, max_size=9).map(
    lambda shares: {key: share / sum(shares) for key, share in zip(OFFICIAL_KEYS, shares, strict=True)}
)
SCORED = st.lists(st.tuples(KEYS, SCORES), min_size=1, max_size=60)


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "set" / "manifest.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write


@settings(deadline=None)
@given(SCORED, st.booleans())
def test_figures_equal_their_definitions(scored: Scored, restrict: bool) -> None:
    truth = [label for label, _ in scored]
    found = figures(truth, [scores for _, scores in scored], restrict=restrict)
    among = sorted(set(truth), key=OFFICIAL_KEYS.index) if restrict else OFFICIAL_KEYS
    guesses = [max(among, key=lambda key: scores[key]) for _, scores in scored]
    hits = [guess == label for guess, label in zip(guesses, truth, strict=True)]
    recalls = [np.mean([hit for hit, label in zip(hits, truth, strict=True) if label == key]) for key in set(truth)]
    assert found.n == len(scored) == found.confusion.sum()
    assert found.accuracy == pytest.approx(np.mean(hits))
    assert found.uar == pytest.approx(np.mean(recalls))
    assert {key: values["recall"] for key, values in found.per_class.items()}.keys() == set(truth)
    assert found.accuracy == pytest.approx(np.trace(found.confusion) / found.n)


@settings(deadline=None)
@given(SCORED)
def test_calibration_error_is_the_weighted_gap_of_fifteen_equal_bins(scored: Scored) -> None:
    found = figures([label for label, _ in scored], [scores for _, scores in scored], restrict=False)
    gap = 0.0
    for number in range(BINS):
        low, high = number / BINS, (number + 1) / BINS
        inside = (found.confidence > low) & (found.confidence <= high)
        if inside.any():
            gap += inside.sum() * abs(found.correct[inside].mean() - found.confidence[inside].mean())
    assert found.ece == pytest.approx(gap / found.n, abs=1e-9)


def test_a_model_that_is_as_right_as_it_is_sure_has_no_calibration_error() -> None:
    confidence = np.repeat([0.25, 0.75], 400)
    correct = np.concatenate([np.arange(400) < 100, np.arange(400) < 300])
    assert calibration_error(confidence, correct) == pytest.approx(0)
    assert sum(share for *_, share in reliability(confidence, correct)) == pytest.approx(1)


def test_restriction_takes_the_best_class_of_the_manifest_and_renormalises() -> None:
    scores = [{"angry": 0.1, "sad": 0.3, "happy": 0.6}, {"angry": 0.5, "sad": 0.1, "happy": 0.4}]
    free = figures(["sad", "angry"], scores, restrict=False)
    bound = figures(["sad", "angry"], scores, restrict=True)
    assert (free.accuracy, bound.accuracy) == (0.5, 1.0)
    assert free.labels == ("angry", "happy", "sad")
    assert bound.labels == ("angry", "sad")
    assert bound.confidence[0] == pytest.approx(0.75)


def test_a_manifest_takes_labels_in_both_chinese_sets_and_english(manifest: Callable[[str], Path]) -> None:
    rows = read_manifest(manifest("\ufeffFile, Label,speaker\na.wav,愤怒,1\nsub/b.wav,生气,2\nc.wav, Anger ,\n"))
    assert [row.label for row in rows] == ["angry"] * 3
    assert [row.path.name for row in rows] == ["a.wav", "b.wav", "c.wav"]
    assert rows[1].path.parent.name == "sub"
    assert [row.speaker for row in rows] == ["1", "2", ""]


def test_a_mapping_gives_names_a_meaning_for_one_corpus_or_for_all(manifest: Callable[[str], Path]) -> None:
    table = manifest("file,label,corpus,split\na,Boredom,emodb,1\nb,boredom,x,2\nc,Joyful,x,2\nd,calm,,\n")
    mapping = table.with_name("names.toml")
    mapping.write_text('joyful = "Happy"\nboredom = "sad"\n[emodb]\nboredom = "neutral"\n', "utf-8")
    rows = read_manifest(table, label_names(OFFICIAL, mapping))
    assert [row.label for row in rows] == ["neutral", "sad", "happy", None]
    assert [(row.corpus, row.fold) for row in rows] == [("emodb", "1"), ("x", "2"), ("x", "2"), ("", "")]


@pytest.mark.parametrize("text", ["boredom =", "boredom = 3", "[emodb]\nboredom = [1]"])
def test_a_mapping_that_is_none_is_refused(manifest: Callable[[str], Path], text: str) -> None:
    mapping = manifest("").with_name("names.toml")
    mapping.write_text(text, "utf-8")
    with pytest.raises(BadRequest, match="label_map_unreadable"):
        label_names(OFFICIAL, mapping)


def test_labels_that_the_model_lacks_are_counted_by_name_and_its_own_are_known(
    manifest: Callable[[str], Path],
) -> None:
    own = Label("furious", "furious", "furious", "furious", "🏷️")
    rows = read_manifest(
        manifest("file,label\na,furious\nb,sad\nc,Sad\nd,angry\ne,grumpy\n"), label_names((own, OFFICIAL[0]), None)
    )
    assert [row.label for row in rows] == ["furious", None, None, "angry", None]
    assert unknown_labels(rows, Choice()) == {"sad": 1, "Sad": 1, "grumpy": 1}
    assert LabelNames(()).has("sad")  # an embedding-only model is refused for what it is, not for its labels


def test_a_label_nobody_knows_is_an_error_of_its_row(manifest: Callable[[str], Path]) -> None:
    first, second = read_manifest(manifest("file,label\na.wav,grumpy\nb.wav,sad\n"))
    assert first.error is not None
    assert first.source is first.error
    assert (first.error.code, first.error.facts["line"]) == ("unknown_label", 2)
    assert second.error is None


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "manifest_columns"), ("path,label\na,b\n", "manifest_columns"), ('file,label\n"a', "manifest_unreadable")],
)
def test_a_manifest_that_is_none_is_refused(manifest: Callable[[str], Path], text: str, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_manifest(manifest(text))
    assert caught.value.code == code


def test_a_manifest_in_another_encoding_or_place_is_refused(manifest: Callable[[str], Path]) -> None:
    """UTF-8 is no cure for a file that is not there."""
    path = manifest("")
    path.write_bytes("file,label\na.wav,愤怒\n".encode("gb18030"))
    with pytest.raises(BadRequest, match=r"\[manifest_unreadable\]"):
        read_manifest(path)
    with pytest.raises(BadRequest, match=r"\[unreadable\].*gone\.csv"):
        read_manifest(path.parent / "gone.csv")


def test_speakers_and_leftovers_decide_which_rows_count() -> None:
    rows = tuple(
        Row(line, f"{line}.wav", Path(f"{line}.wav"), label, speaker)
        for line, (label, speaker) in enumerate([("sad", "1"), ("other", "1"), ("sad", "2"), (None, "1")])
    )
    assert [row.line for row in choose(rows, Choice(), Path("m"))] == [0, 2, 3]
    assert [row.line for row in choose(rows, Choice(frozenset({"1"})), Path("m"))] == [0, 3]
    assert [row.line for row in choose(rows, Choice(leftovers=True), Path("m"))] == [0, 1, 2, 3]
    assert left_out(rows, Choice()) == {"other": 1}
    assert left_out(rows, Choice(frozenset({"2"}))) == {}
    with pytest.raises(BadRequest, match="manifest_empty"):
        choose(rows, Choice(frozenset({"9"})), Path("m"))


def judged(*labels: str, failed: int = 0) -> tuple[Judgement, ...]:
    """Return judgements of a model that always says happy, then failures."""
    rows = [Row(line, f"{line}.wav", Path(f"{line}.wav"), label) for line, label in enumerate(labels, 2)]
    bad = BadAudio("unexpected", kind="x", detail="y")
    return (
        *(Judgement(row, make_prediction(), None) for row in rows),
        *(Judgement(Row(99, "bad.wav", Path("bad.wav"), "sad"), None, bad) for _ in range(failed)),
    )


def test_the_record_has_the_known_keys_and_lists_what_failed() -> None:
    material = Material(judged("happy", "happy", "sad", failed=1), {"other": 2}, {"grumpy": 1})
    found = json_record(evaluated(material, Rules()))
    details = found.pop("details")
    assert list(found)[:7] == ["n", "accuracy", "uar", "macro_f1", "ece", "per_class", "confusion"]
    assert (found["n"], found["uar"]) == (3, 0.5)
    assert found["confusion"] == {"labels": ["happy", "sad"], "counts": [[2, 0], [1, 0]]}
    assert details["left_out"] == {"other": 2}
    assert details["unknown_labels"] == {"grumpy": 1}
    assert [error["file"] for error in details["errors"]] == ["bad.wav"]
    json.dumps(found, allow_nan=False)


def test_files_of_the_record_agree_and_the_pictures_are_pictures(tmp_path: Path) -> None:
    found = evaluated(Material(judged("happy", "sad", failed=1)), Rules())
    write_record(found, tmp_path / "new")
    assert json.loads((tmp_path / "new" / "evaluation.json").read_text("utf-8")) == json_record(found)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "new" / "predictions.csv").read_text("utf-8"))))
    assert [(row["label"], row["emotion"], row["error"]) for row in rows] == [
        ("happy", "happy", ""),
        ("sad", "happy", ""),
        ("sad", "", "unexpected"),
    ]
    for name in ("confusion.png", "reliability.png", "risk-coverage.png"):
        with Image.open(tmp_path / "new" / name) as picture:
            colours = picture.convert("RGB").getcolors(1 << 20)
            assert colours is not None
            assert len(colours) > 10


def test_a_record_is_whole_or_the_one_before(tmp_path: Path, largest_file: Callable[[int], Any]) -> None:
    """A disk that fills up while a record is written leaves no torn one."""
    record = tmp_path / "evaluation.json"
    record.write_text("{}", "utf-8")
    found = evaluated(Material(judged("happy", "sad", failed=1)), Rules())
    with largest_file(100), pytest.raises(BadRequest, match="output_unwritable"):
        write_record(found, tmp_path)
    assert record.read_text("utf-8") == "{}"


def test_nothing_answered_and_no_classifier_are_errors() -> None:
    with pytest.raises(BadRequest, match="nothing_answered"):
        evaluated(Material(judged(failed=2)), Rules())
    bare = Judgement(Row(2, "a", Path("a"), "sad"), make_prediction(emotion=None, scores={}, labels=()), None)
    with pytest.raises(BadRequest, match="no_classifier"):
        evaluated(Material((bare,)), Rules())


def test_the_summary_is_json_numbers() -> None:
    found = summary(figures(["sad"], [{"sad": 1.0}]))
    assert json.loads(json.dumps(found))["per_class"]["sad"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 1}

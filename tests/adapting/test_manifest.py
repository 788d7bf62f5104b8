"""Manifests, labels and parts: what they mean, what is refused, and that no voice is on both sides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.delivery.adapting.labels import choose_labels, key_of, own_names, tokens
from emotape.delivery.adapting.manifest import Sample, merged_names, read_samples
from emotape.delivery.adapting.split import divide
from emotape.errors import BadRequest
from emotape.model.labels import OFFICIAL_KEYS
from emotape.model.weights import read_labels
from tests.adapting.conftest import write_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.delivery.adapting.manifest import Part
    from emotape.wording import Language


def samples_of(*rows: tuple[str, str, Part], times: int = 1) -> tuple[Sample, ...]:
    """Return samples of (label, speaker, part)."""
    return tuple(
        Sample(place, f"{place}.wav", None, label, label, speaker, part)  # type: ignore[arg-type]
        for place, (label, speaker, part) in enumerate(rows * times)
    )


def code_of(refused: pytest.ExceptionInfo[BadRequest]) -> str:
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        assert all(vars(refused.value.text(language)).values())
    return refused.value.code


def test_labels_of_any_name_come_back_from_the_files_they_are_written_to(tmp_path: Path) -> None:
    labels = choose_labels(None, ["happy", "满意", "UPSET", "不满/upset", "so-so", "joyful 😀", "悲伤", "So-so"])
    (tmp_path / "tokens.txt").write_text(tokens(labels), encoding="utf-8")
    (tmp_path / "labels.json").write_text(json.dumps(own_names(labels)), encoding="utf-8")
    assert read_labels(tmp_path) == labels
    assert [label.key for label in labels] == ["happy", "sad", "So-so", "joyful 😀", "upset", "满意"]
    assert {label.key: label.zh for label in labels}["upset"] == "不满"


def test_official_labels_may_be_written_in_any_of_their_names() -> None:
    assert {key_of(name) for name in ("joy", "Happy", "开心", "快乐", "开心/happy")} == {"happy"}
    assert {key_of(name) for name in ("", "  ", "unuse_1", "a\nb", "\x00")} == {None}


def test_a_label_file_gives_order_names_and_emoji(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(
        "upset: {zh: 不满, en: Upset, emoji: 😤}\nhappy: {zh: 别名}\ncalm: 平静\n", encoding="utf-8"
    )
    (tmp_path / "labels.toml").write_text(
        'upset = {zh = "不满", en = "Upset", emoji = "😤"}\nhappy = {zh = "别名"}\ncalm = "平静"\n', encoding="utf-8"
    )
    found = ["happy", "upset", "calm", "other"]
    upset, happy, calm = choose_labels(str(tmp_path / "labels.yaml"), found)
    assert choose_labels(str(tmp_path / "labels.toml"), found) == (upset, happy, calm)
    assert (upset.key, upset.en, upset.zh, upset.emoji) == ("upset", "Upset", "不满", "😤")
    assert happy.zh == "快乐", "official labels keep their names"
    assert (calm.zh, calm.en) == ("平静", "calm")


@pytest.mark.parametrize(
    ("asked", "code"),
    [("happy,calm", "adapt_no_such_label"), ("happy", "adapt_one_label"), ("happy,unuse", "adapt_label_name"),
     ("none.json", "adapt_labels_unreadable")],
)  # fmt: skip
def test_labels_that_cannot_be_learned_are_refused(asked: str, code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        choose_labels(asked, ["happy", "sad"])
    assert code_of(refused) == code


@pytest.mark.parametrize("text", ["5", "[", "happy: {de: froh}", "- [a]\n- {}\n"])
def test_a_label_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadRequest) as refused:
        choose_labels(str(file), ["happy", "sad"])
    assert code_of(refused) in {"adapt_labels_unreadable", "adapt_no_such_label"}


def test_parts_come_from_the_manifest_and_the_test_part_is_left_alone(tmp_path: Path) -> None:
    rows = [["a.wav", "joy", "train"], ["b.wav", "Happy", "VAL"], ["c.wav", "sad", "test"], ["d.wav", "sad", ""]]
    manifest = write_manifest(tmp_path / "m.csv", rows, ("File", "Label", "Split"))
    found = read_samples(manifest)
    assert [(sample.file, sample.part) for sample in found] == [("a.wav", "train"), ("b.wav", "dev"), ("d.wav", "")]
    assert found[0].path == tmp_path / "a.wav"
    assert merged_names(found) == {"happy": ("Happy", "joy")}
    dev = write_manifest(tmp_path / "dev.csv", [["e.wav", "sad"]], ("file", "label"))
    assert [sample.part for sample in read_samples(manifest, dev)] == ["train", "train", "dev"]


@pytest.mark.parametrize(
    ("rows", "columns", "code"),
    [
        ([["a.wav", "sad", "half"]], ("file", "label", "split"), "adapt_part_unknown"),
        ([["a.wav", "unuse", ""]], ("file", "label", "split"), "adapt_label_name"),
        ([["", "sad", ""]], ("file", "label", "split"), "adapt_label_name"),
        ([["a.wav", "sad", "test"]], ("file", "label", "split"), "adapt_manifest_empty"),
        ([["a.wav", "sad"]], ("path", "label"), "manifest_columns"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    tmp_path: Path, rows: list[list[str]], columns: tuple[str, ...], code: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        read_samples(write_manifest(tmp_path / "m.csv", rows, columns))
    assert code_of(refused) == code


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 9), st.integers(2, 4), st.integers(0, 5))
def test_no_speaker_is_in_both_parts_and_every_recording_is_in_one(speakers: int, labels: int, seed: int) -> None:
    rows = [(OFFICIAL_KEYS[label], f"s{speaker}", "") for label in range(labels) for speaker in range(speakers)]
    samples = samples_of(*rows, times=3)  # type: ignore[arg-type]
    split = divide(samples, seed)
    parts = [{samples[place].speaker for place in part} for part in (split.train, split.dev)]
    assert split.how == "speakers"
    assert all(parts)
    assert not parts[0] & parts[1]
    assert sorted([*split.train, *split.dev]) == list(range(len(samples)))
    assert {samples[place].label for place in split.train} == {sample.label for sample in samples}
    np.testing.assert_array_equal(divide(samples, seed).dev, split.dev)


def test_without_speakers_a_fifth_of_every_label_judges() -> None:
    split = divide(samples_of(("happy", "", ""), ("sad", "", ""), ("sad", "s1", ""), times=20), seed=1)
    assert split.how == "recordings"
    assert len(split.dev) == 4 + 8


def test_a_given_split_is_kept_and_what_is_wrong_with_it_is_said() -> None:
    rows: list[tuple[str, str, Part]] = [
        ("happy", "a", "train"), ("happy", "b", ""), ("sad", "a", "train"), ("sad", "a", ""), ("sad", "b", "dev"),
    ]  # fmt: skip
    split = divide(samples_of(*rows), seed=0)
    assert (split.how, split.dev.tolist(), split.shared, split.lacking) == ("given", [4], ("b",), ("happy",))


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([("happy", "a", ""), ("sad", "a", "")] * 5, "adapt_one_speaker"),
        ([("happy", "", "")] * 5 + [("sad", "", "")] * 3, "adapt_too_few"),
        ([("happy", "", "train")] * 5 + [("sad", "", "dev")] * 5, "adapt_too_few"),
    ],
)
def test_what_cannot_be_parted_is_refused(rows: list[tuple[str, str, Part]], code: str) -> None:
    with pytest.raises(BadRequest) as refused:
        divide(samples_of(*rows), seed=0)
    assert code_of(refused) == code

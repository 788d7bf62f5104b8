"""Labelled recordings: a folder says what the CSV says that was made of it, and what has no label is told."""

from __future__ import annotations

import csv
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emotape.delivery.adapting.manifest import read_samples
from emotape.delivery.evaluation.manifest import read_manifest
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from emotape.wording import Language

LABELLED = [
    ("Joy/b.WAV", "Joy", ""),
    ("Joy/anna/a.opus", "Joy", "anna"),
    ("Joy/anna/day 2/take 1/c.mp3", "Joy", "anna"),
    ("so-so/x.wav", "so-so", ""),
    ("生气/小李/1.m4a", "生气", "小李"),
]
OTHERS = ["loose.wav", "README.md", "Joy/notes.txt", "Joy/.hidden.wav", ".cache/anna/a.wav", "Joy/.old/a.wav"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*OTHERS, *(file for file, *_ in reversed(LABELLED))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture
def manifest(folder: Path) -> Path:
    """Return a CSV in the folder that says the same."""
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "label", "speaker"), *LABELLED])
    return folder / "manifest.csv"


def test_a_folder_gives_the_rows_of_the_csv_that_says_the_same(folder: Path, manifest: Path) -> None:
    """In the same order, whatever the file system's own."""
    samples = read_samples(folder)
    assert samples == tuple(replace(sample, line=0) for sample in read_samples(manifest))
    assert [(sample.file, sample.name, sample.speaker) for sample in samples] == LABELLED
    assert [sample.label for sample in samples] == ["happy", "happy", "happy", "so-so", "angry"]
    assert all(sample.path.is_file() for sample in samples)
    rows, listed = read_manifest(folder), read_manifest(manifest)
    assert [replace(row, error=None) for row in rows] == [replace(row, line=0, error=None) for row in listed]
    assert [row.error is None for row in rows] == [True, True, True, False, True]
    assert [sample.place for sample in (samples[0], read_samples(manifest)[0])] == ["Joy/b.WAV", "2: Joy/b.WAV"]


def test_a_folder_of_dev_judges_what_a_csv_teaches(folder: Path, manifest: Path) -> None:
    assert [sample.part for sample in read_samples(manifest, folder)] == ["train"] * 5 + ["dev"] * 5
    assert [sample.part for sample in read_samples(folder, manifest)] == ["train"] * 5 + ["dev"] * 5


def test_a_folder_where_it_stands_is_a_folder_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    monkeypatch.chdir(folder)
    assert [sample.file for sample in read_samples(Path())] == [file for file, *_ in LABELLED]


def test_a_folder_in_which_nothing_is_labelled_is_refused(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", ".hidden/c.wav", "notes/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    languages: tuple[Language, ...] = ("en", "zh")
    for read in (read_samples, read_manifest):
        with pytest.raises(BadRequest) as refused:
            read(tmp_path)
        assert (refused.value.code, refused.value.facts["loose"]) == ("folder_unlabelled", 2)
        for language in languages:
            text = refused.value.text(language)
            assert all(vars(text).values())
            assert f"{tmp_path}/happy/" in text.cure


def test_a_folder_whose_name_can_be_no_label_is_named(folder: Path) -> None:
    (folder / "unuse_1").mkdir()
    (folder / "unuse_1" / "a.wav").touch()
    with pytest.raises(BadRequest) as refused:
        read_samples(folder)
    assert (refused.value.code, refused.value.facts["place"]) == ("adapt_label_name", str(folder / "unuse_1" / "a.wav"))


def test_a_label_that_cannot_be_looked_into_is_no_label_less(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is closed to root, so that the system refuses is put on."""
    look = os.scandir

    def refusing(path: str) -> Any:
        if Path(path).name == "Joy":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return look(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(BadRequest, match="unreadable"):
        read_samples(folder)

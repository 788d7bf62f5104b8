"""From a file to the answer and its downloads, with a fake recognizer at the seam."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from emotape.audio.decode import DecodeLimits
from emotape.delivery.page.answer import DOWNLOADS, Desk, Request, answer
from emotape.errors import BadAudio, BadRequest, TooLong
from tests.page.fake import FakeRecognizer

if TYPE_CHECKING:
    from emotape.engine.result import Granularity


def desk(limits: DecodeLimits | None = None) -> Desk:
    return Desk(FakeRecognizer(), limits or DecodeLimits(), "en")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "录音 1.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(16_000), 16_000)
    return path


@pytest.mark.parametrize("granularity", ["utterance", "frame", "segment"])
@pytest.mark.parametrize("embedding", [False, True])
def test_what_was_asked_for_is_what_can_be_downloaded(
    recording: Path, tmp_path: Path, granularity: Granularity, embedding: bool
) -> None:
    recognizer = FakeRecognizer()
    request = Request(str(recording), granularity, embedding)
    given = answer(Desk(recognizer, DecodeLimits(), "zh"), request, tmp_path / "out")
    assert recognizer.asked == [(granularity, embedding)]
    assert ("embedding.npy" in given.files) == embedding
    assert ("frames.csv" in given.files) == (granularity != "utterance")
    assert json.loads(given.files["result.json"].read_text())["emotion"] == given.prediction.emotion
    assert list(given.files) == [name for name in DOWNLOADS if name in given.files]


def test_the_zip_holds_the_whole_folder_under_its_own_name(recording: Path, tmp_path: Path) -> None:
    given = answer(desk(), Request(str(recording)), tmp_path / "out")
    with zipfile.ZipFile(given.files[""]) as archive:
        names = archive.namelist()
    folder = given.sound.parent
    assert {Path(name).parts[0] for name in names} == {folder.name}
    assert {Path(name).name for name in names if not name.endswith("/")} == {path.name for path in folder.iterdir()}


def test_the_sound_to_listen_to_is_what_the_network_heard(recording: Path, tmp_path: Path) -> None:
    given = answer(desk(), Request(str(recording)), tmp_path / "out")
    heard, rate = soundfile.read(given.sound)
    sent, _ = soundfile.read(recording)
    assert rate == 16_000
    assert np.abs(heard - sent).max() <= 1 / 32_768


def test_the_stages_begin_with_the_decoding_that_the_page_did(recording: Path, tmp_path: Path) -> None:
    given = answer(desk(), Request(str(recording)), tmp_path / "out")
    assert list(given.prediction.stages) == ["decode", "run"]
    assert given.name == recording.name


def test_no_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as refused:
        answer(desk(), Request(None), tmp_path)
    assert refused.value.code == "page_no_audio"


def test_text_is_refused_before_the_recognizer_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("not audio at all\n" * 100)
    recognizer = FakeRecognizer()
    with pytest.raises(BadAudio):
        answer(Desk(recognizer, DecodeLimits(), "en"), Request(str(path)), tmp_path / "out")
    assert recognizer.asked == []


def test_the_limits_of_the_settings_hold_on_the_page_too(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(TooLong):
        answer(desk(DecodeLimits(seconds=0.5)), Request(str(recording)), tmp_path / "out")

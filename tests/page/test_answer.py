"""From an upload to what a visitor sees, hears and downloads, with a fake recognizer at the seam."""

from __future__ import annotations

import asyncio
import csv
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from emotape.audio.decode import DecodeLimits
from emotape.delivery.page.answer import Desk, Request, Upload
from emotape.delivery.page.bundle import write_bundle
from emotape.delivery.page.run import TOGETHER, run
from emotape.delivery.page.shelf import Shelf
from emotape.engine.progress import Progress
from emotape.errors import EngineFault
from tests.page.fake import FakeRecognizer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from emotape.engine.result import Granularity


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., Desk]:
    def make(recognizer: FakeRecognizer) -> Desk:
        return Desk(recognizer, "en", Shelf(tmp_path / "shelf", 0))

    return make


@pytest.fixture
def recording(tmp_path: Path) -> Upload:
    path = tmp_path / "a1b2.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(16_000), 16_000)
    return Upload(str(path), "录音 1.wav")


@pytest.fixture
def notes(tmp_path: Path) -> Upload:
    path = tmp_path / "notes.wav"
    path.write_text("not audio at all\n" * 100)
    return Upload(str(path), "notes.wav")


def states(desk: Desk, request: Request) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [state async for state in run(desk, request)]

    return asyncio.run(collect())


def last(desk: Desk, *uploads: Upload, granularity: Granularity = "utterance", embedding: bool = False) -> Any:
    return states(desk, Request(uploads, granularity, embedding))[-1]


def behind(desk: Desk, address: str) -> Path:
    _, place, name = address.rsplit("/", 2)
    found = desk.shelf.find(place, name)
    assert found is not None
    return found


def view_of(desk: Desk, state: dict[str, Any]) -> dict[str, Any]:
    view: dict[str, Any] = json.loads(behind(desk, state["files"][0]["view"]).read_text(encoding="utf-8"))
    return view


@pytest.mark.parametrize("granularity", ["utterance", "frame", "segment"])
@pytest.mark.parametrize("embedding", [False, True])
def test_what_was_asked_for_is_what_can_be_downloaded(
    desk: Callable[..., Desk], recording: Upload, granularity: Granularity, embedding: bool
) -> None:
    recognizer = FakeRecognizer()
    here = desk(recognizer)
    view = view_of(here, last(here, recording, granularity=granularity, embedding=embedding))
    assert recognizer.asked == [(granularity, embedding)]
    assert ("embedding.npy" in view["downloads"]) == embedding
    assert ("frames.csv" in view["downloads"]) == (granularity != "utterance")
    assert ("segments.srt" in view["downloads"]) == (granularity == "segment")
    assert bool(view["curve"]) == (granularity != "utterance")
    result = json.loads(behind(here, view["downloads"]["result.json"]).read_text())
    assert result["emotion"] == view["emotion"]
    assert result["scores"] == pytest.approx(view["scores"], abs=1e-5)


def test_the_zip_holds_the_whole_folder_under_its_own_name(desk: Callable[..., Desk], recording: Upload) -> None:
    here = desk(FakeRecognizer())
    view = view_of(here, last(here, recording))
    folder = behind(here, view["sound"]).parent
    with zipfile.ZipFile(behind(here, view["downloads"][f"{folder.name}.zip"])) as archive:
        names = [Path(name) for name in archive.namelist() if not name.endswith("/")]
    assert {name.parts[0] for name in names} == {folder.name}
    assert {name.name for name in names} == {path.name for path in folder.iterdir()}


def test_the_sound_to_listen_to_is_what_the_network_heard(desk: Callable[..., Desk], recording: Upload) -> None:
    here = desk(FakeRecognizer())
    heard, rate = soundfile.read(behind(here, view_of(here, last(here, recording))["sound"]))
    sent, _ = soundfile.read(recording.path)
    assert rate == 16_000
    assert np.abs(heard - sent).max() <= 1 / 32_768


def test_the_stages_begin_with_decoding_and_the_name_is_the_visitors(
    desk: Callable[..., Desk], recording: Upload
) -> None:
    here = desk(FakeRecognizer())
    view = view_of(here, last(here, recording))
    assert list(view["stages"]) == ["decode", "run", "finish"]
    assert view["file"] == recording.name


def test_no_file_is_an_error_that_says_so(desk: Callable[..., Desk]) -> None:
    assert last(desk(FakeRecognizer()))["error"]["code"] == "page_no_audio"


def test_of_several_files_the_bad_one_gets_its_error_and_the_others_their_answers(
    desk: Callable[..., Desk], recording: Upload, notes: Upload
) -> None:
    recognizer = FakeRecognizer()
    here = desk(recognizer)
    state = last(here, recording, notes, recording)
    assert [file["stage"] for file in state["files"]] == ["answered", "failed", "answered"]
    assert state["files"][1]["error"]["cure"]
    assert len(recognizer.asked) == 2
    table = behind(here, state["downloads"]["results.csv"]).read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in table[1:]] == [recording.name, notes.name, recording.name]
    assert table[2].endswith(state["files"][1]["error"]["code"])
    assert [file.get("uncertain") for file in state["files"]] == [None, None, None]
    with zipfile.ZipFile(behind(here, state["downloads"]["emotape.zip"])) as archive:
        assert sum(name.endswith("result.json") for name in archive.namelist()) == 2


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_the_list_of_files_and_the_table_say_whether_the_model_is_sure(
    desk: Callable[..., Desk], recording: Upload, threshold: float
) -> None:
    here = desk(FakeRecognizer(uncertain_below=threshold))
    state = last(here, recording, recording)
    assert [file["uncertain"] for file in state["files"]] == [threshold > 1] * 2
    table = behind(here, state["downloads"]["results.csv"]).read_text(encoding="utf-8").splitlines()
    assert [row["uncertain"] for row in csv.DictReader(table)] == [str(threshold > 1).lower()] * 2


def test_a_single_file_needs_no_table_of_files(desk: Callable[..., Desk], recording: Upload) -> None:
    assert last(desk(FakeRecognizer()), recording)["downloads"] == {}


def test_the_limits_of_the_settings_hold_on_the_page_too(desk: Callable[..., Desk], recording: Upload) -> None:
    recognizer = FakeRecognizer(limits=DecodeLimits(seconds=0.5))
    state = last(desk(recognizer), recording)
    assert state["files"][0]["error"]["code"].startswith("too_")
    assert recognizer.asked == []


@pytest.mark.parametrize("failure", [EngineFault("closed"), ZeroDivisionError("secret detail")])
def test_what_goes_wrong_inside_becomes_the_files_error_without_details(
    desk: Callable[..., Desk], recording: Upload, failure: Exception
) -> None:
    state = last(desk(FakeRecognizer(failure=failure)), recording)
    assert state["done"] is True
    assert state["files"][0]["stage"] == "failed"
    assert "secret detail" not in json.dumps(state)


async def _until(states: AsyncIterator[dict[str, Any]], wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async for state in states:
        if wanted(state):
            return state
    raise AssertionError("the states ended")


def test_the_recognizers_own_progress_is_shown_until_the_answer_comes(
    desk: Callable[..., Desk], recording: Upload
) -> None:
    recognizer = FakeRecognizer(held=True)

    async def watch() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        states = run(desk(recognizer), Request((recording,)))
        queued = await _until(states, lambda state: state["files"][0]["stage"] == "queued")
        recognizer.progress = Progress("running", windows=5, windows_done=2)
        running = await _until(states, lambda state: state["files"][0]["stage"] == "running")
        recognizer.release()
        return queued, running, await _until(states, lambda state: state["done"])

    queued, running, done = asyncio.run(watch())
    assert queued["files"][0]["ahead"] == 35.0
    assert (running["files"][0]["windows_done"], running["files"][0]["windows"]) == (2, 5)
    assert done["files"][0]["stage"] == "answered"


def test_a_request_waits_for_a_model_that_is_still_loading(desk: Callable[..., Desk], recording: Upload) -> None:
    recognizer = FakeRecognizer()
    recognizer.ready.clear()

    async def watch() -> dict[str, Any]:
        states = run(desk(recognizer), Request((recording, recording)))
        await _until(states, lambda state: all(file["stage"] == "loading" for file in state["files"]))
        recognizer.ready.set()
        return await _until(states, lambda state: state["done"])

    assert [file["stage"] for file in asyncio.run(watch())["files"]] == ["answered", "answered"]


def test_whoever_leaves_withdraws_what_is_not_answered(desk: Callable[..., Desk], recording: Upload) -> None:
    recognizer = FakeRecognizer(held=True)

    async def leave() -> None:
        states = run(desk(recognizer), Request((recording, recording)))
        await _until(states, lambda state: all(file["stage"] == "queued" for file in state["files"]))
        await states.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert [pending.cancelled() for pending in recognizer.given] == [True, True]


def test_whoever_leaves_while_the_model_loads_is_withdrawn_once_it_has(
    desk: Callable[..., Desk], recording: Upload
) -> None:
    recognizer = FakeRecognizer(held=True)
    recognizer.ready.clear()

    async def leave() -> None:
        states = run(desk(recognizer), Request((recording,)))
        await _until(states, lambda state: state["files"][0]["stage"] == "loading")
        await states.aclose()  # type: ignore[attr-defined]
        recognizer.ready.set()
        while not recognizer.given or not recognizer.given[0].cancelled():  # the test's own time limit ends this
            await asyncio.sleep(0)

    asyncio.run(leave())


def test_one_visitors_hundred_files_leave_room_for_others(desk: Callable[..., Desk], recording: Upload) -> None:
    recognizer = FakeRecognizer(held=True)

    async def watch() -> None:
        states = run(desk(recognizer), Request((recording,) * 100))
        await _until(states, lambda state: sum(file["stage"] == "queued" for file in state["files"]) == TOGETHER)
        assert len(recognizer.given) == TOGETHER
        await states.aclose()  # type: ignore[attr-defined]

    asyncio.run(watch())


def test_states_tell_two_equal_runs_apart(desk: Callable[..., Desk]) -> None:
    """A browser hears of a new state only if it differs from the last one."""
    here = desk(FakeRecognizer())
    assert last(here) != last(here)


def test_a_file_name_leads_nowhere_in_the_zip_of_several(tmp_path: Path) -> None:
    result = tmp_path / "result"
    result.mkdir()
    (result / "result.json").write_text("{}")
    write_bundle(tmp_path, [], [("../../etc/passwd", result), ("", result), ("录音.wav", result)])
    with zipfile.ZipFile(tmp_path / "emotape.zip") as archive:
        names = archive.namelist()
    assert names == ["results.csv", "01_etc_passwd/result.json", "02_recording/result.json", "03_录音.wav/result.json"]


def test_an_upload_that_was_swept_away_is_to_be_uploaded_again_and_no_path_is_told(
    desk: Callable[..., Desk], recording: Upload
) -> None:
    Path(recording.path).unlink()
    file = last(desk(FakeRecognizer()), recording)["files"][0]
    assert file["error"]["code"] == "page_upload_gone"
    assert "upload it again" in file["error"]["cure"]
    assert recording.path not in json.dumps(file)


def test_a_list_of_answers_knows_what_is_to_be_said_of_the_sound(desk: Callable[..., Desk], recording: Upload) -> None:
    here = desk(FakeRecognizer(warnings=("silent", "little_speech")))
    assert last(here, recording)["files"][0]["warnings"] == ["silent", "little_speech"]

"""The page in a real browser, over the real recognizer with the bundled model."""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from emotape import Recognizer

if TYPE_CHECKING:
    from tests.page.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ENGLISH = pytest.mark.parametrize("visit", ["en-GB"], indirect=True)
IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a WAV of a shipped sample: real speech."""
    samples, rate = soundfile.read(sample("angry"))
    path = tmp_path_factory.mktemp("audio") / "speech.wav"
    soundfile.write(path, samples, rate)
    return path


def sample(name: str) -> Path:
    import emotape

    return Path(emotape.__file__).parent / "samples" / f"{name}.opus"


def upload(visit: Visit, path: Path) -> None:
    visit.page.locator("#upload input[type=file]").set_input_files(path)
    visit.page.locator("#upload").get_by_text(path.stem).first.wait_for()


def choose(visit: Visit, granularity: str) -> None:
    visit.page.locator(f"#granularity input[value={granularity}]").check()


def recognize(visit: Visit) -> None:
    visit.page.locator("#start").click()
    visit.page.locator(".verdict, .error").first.wait_for()


def download(visit: Visit, name: str) -> bytes:
    with visit.page.expect_download() as waiting:
        visit.page.locator("#downloads").get_by_text(name).click()
    return Path(waiting.value.path()).read_bytes()


def screenshot(visit: Visit, name: str) -> None:
    if os.environ.get("EMOTAPE_SCREENSHOTS") == "1":
        IMAGES.mkdir(parents=True, exist_ok=True)
        visit.page.screenshot(path=IMAGES / name, full_page=True)


def test_an_uploaded_wav_gets_the_answer_that_the_library_gives(visit: Visit, recording: Path) -> None:
    with Recognizer() as recognizer:
        expected = recognizer.recognize(recording)
    upload(visit, recording)
    recognize(visit)
    assert visit.page.locator(".verdict").get_attribute("data-emotion") == expected.emotion
    assert f"{expected.confidence:.1%}" in visit.page.locator(".verdict").inner_text()
    assert visit.page.locator(".bar").count() == 9
    result = json.loads(download(visit, "result.json"))
    assert result["emotion"] == expected.emotion
    assert all(math.isclose(result["scores"][key], score, abs_tol=1e-4) for key, score in expected.scores.items())
    assert "decode" in visit.page.locator("#log textarea").input_value()


def test_a_sample_with_embedding_can_be_downloaded_whole(visit: Visit) -> None:
    visit.page.locator("#sample-angry").click()
    visit.page.locator("#upload").get_by_text("angry").first.wait_for()
    visit.page.locator("#embedding input").check()
    recognize(visit)
    embedding = np.load(io.BytesIO(download(visit, "embedding.npy")))
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    with zipfile.ZipFile(io.BytesIO(download(visit, "zip"))) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"result.json", "embedding.npy", "processed_audio.wav"} <= names


def test_frame_granularity_draws_a_curve(visit: Visit, recording: Path) -> None:
    upload(visit, recording)
    choose(visit, "frame")
    recognize(visit)
    visit.page.locator("#curve svg.marks path[aria-label], #curve svg.marks .mark-line path").first.wait_for()
    rows = download(visit, "frames.csv").decode().splitlines()
    samples, rate = soundfile.read(recording)
    assert abs(len(rows) - 1 - len(samples) / rate * 50) <= 2  # 50 frames a second


def test_segment_granularity_shows_a_table_that_covers_the_recording(visit: Visit, recording: Path) -> None:
    upload(visit, recording)
    choose(visit, "segment")
    recognize(visit)
    rows = visit.page.locator("#segments tbody tr")
    rows.first.wait_for()
    assert float(rows.first.locator("td").nth(0).inner_text()) == 0.0
    assert visit.page.locator("#segments .strip span").count() == rows.count()
    visit.page.locator("#curve svg.marks .mark-line path").first.wait_for()
    screenshot(visit, "page-zh.png")


def test_a_text_file_named_wav_is_refused_with_cause_and_cure(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("this is not audio\n" * 50)
    upload(visit, path)
    recognize(visit)
    card = visit.page.locator(".error")
    assert "原因" in card.inner_text()
    assert "解决办法" in card.inner_text()
    assert "Traceback" not in visit.page.content()
    assert visit.page.locator(".verdict").count() == 0


def test_an_error_makes_room_for_the_next_answer(visit: Visit, recording: Path) -> None:
    recognize(visit)
    assert visit.page.locator(".error").get_attribute("data-code") == "page_no_audio"
    upload(visit, recording)
    visit.page.locator("#start").click()
    visit.page.locator(".verdict").wait_for()
    assert visit.page.locator(".error").count() == 0


def test_what_the_microphone_records_becomes_the_upload(visit: Visit) -> None:
    visit.page.get_by_text("麦克风录音").click()
    visit.page.locator("#microphone .record-button").click()
    visit.page.locator("#microphone .duration").get_by_text("0:01").wait_for()
    visit.page.locator("#microphone .stop-button").click()
    visit.page.locator("#upload .file-preview, #upload table").first.wait_for()
    recognize(visit)
    assert visit.page.locator(".verdict").count() == 1


@ENGLISH
def test_the_page_speaks_the_browsers_language_until_told_otherwise(visit: Visit) -> None:
    assert visit.page.locator("#start").inner_text() == "Recognize"
    visit.page.locator("#language").click()
    visit.page.get_by_role("button", name="开始识别").wait_for()
    visit.page.goto(visit.page.url.removesuffix("zh/"))
    visit.page.get_by_role("button", name="开始识别").wait_for()


@ENGLISH
def test_the_page_asks_nothing_of_any_other_machine(visit: Visit) -> None:
    visit.page.locator("#sample-surprised").click()
    visit.page.locator("#upload").get_by_text("surprised").first.wait_for()
    choose(visit, "frame")
    recognize(visit)
    visit.page.locator("#curve svg.marks .mark-line path").first.wait_for()
    visit.page.wait_for_load_state("networkidle")
    assert visit.strangers == []
    screenshot(visit, "page-en.png")


@pytest.mark.parametrize("visit", ["en-GB", "zh-CN"], indirect=True)
def test_an_experimental_model_is_called_so_and_the_way_to_a_better_one_is_shown(visit: Visit) -> None:
    assert "emotape models pull plus-large" in visit.page.locator(".banner").inner_text()

"""The page in a real browser, over the real server with the bundled model."""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from emotape import Recognizer
from tests.conftest import AUDIO
from tests.page.conftest import visiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.page.conftest import Server, Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ENGLISH = pytest.mark.parametrize("visit", ["en-GB"], indirect=True)


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


def download(visit: Visit, name: str, place: str = "#downloads") -> bytes:
    with visit.page.expect_download() as waiting:
        visit.page.locator(place).get_by_text(name).click()
    return Path(waiting.value.path()).read_bytes()


def hears(visit: Visit) -> str:
    return "document.querySelector('audio').currentTime"


def cursor(visit: Visit) -> float:
    """Return where the cursor stands, as a share of the recording."""
    style = visit.page.locator(".cursor").get_attribute("style") or ""
    return float(style.partition("left: ")[2].rstrip("%;")) / 100


def test_an_uploaded_wav_gets_the_answer_that_the_library_gives(visit: Visit, recording: Path) -> None:
    with Recognizer() as recognizer:
        expected = recognizer.recognize(recording)
    visit.upload(recording)
    visit.page.locator("#embedding input").check()
    visit.recognize()
    assert visit.page.locator(".verdict").get_attribute("data-emotion") == expected.emotion
    assert f"{expected.confidence:.1%}" in visit.page.locator(".verdict").inner_text()
    assert visit.page.locator(".verdict .uncertain").count() == (expected.uncertain is True)
    assert visit.page.locator(".bar").count() == 9
    assert "解码" in visit.page.locator("#log").inner_text()
    result = json.loads(download(visit, "result.json"))
    assert result["emotion"] == expected.emotion
    assert all(math.isclose(result["scores"][key], score, abs_tol=1e-4) for key, score in expected.scores.items())
    embedding = np.load(io.BytesIO(download(visit, "embedding.npy")))
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    with zipfile.ZipFile(io.BytesIO(download(visit, "zip"))) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"result.json", "embedding.npy", "processed_audio.wav"} <= names


def test_the_curve_is_heard_where_it_is_clicked(visit: Visit, recording: Path) -> None:
    visit.upload(recording)
    visit.choose("frame")
    visit.recognize()
    assert visit.page.locator(".curve polyline").count() > 1
    area = visit.page.locator(".track-area")
    box = area.bounding_box()
    assert box is not None
    visit.page.wait_for_function("document.querySelector('audio').readyState >= 3")
    visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    length = soundfile.info(recording).duration
    visit.page.wait_for_function(f"{hears(visit)} > {length / 2}")
    assert cursor(visit) >= 0.5
    visit.page.wait_for_function("document.querySelector('audio').paused")  # it has played to its end
    assert cursor(visit) == pytest.approx(1, abs=0.02)
    rows = download(visit, "frames.csv").decode().splitlines()
    assert abs(len(rows) - 1 - length * 50) <= 2  # 50 frames a second


def test_a_segment_is_heard_from_its_start_to_its_end_by_keyboard_too(visit: Visit, recording: Path) -> None:
    visit.upload(recording)
    visit.choose("segment")
    visit.recognize()
    rows = visit.page.locator("#segments tbody tr")
    assert visit.page.locator(".strip span").count() == rows.count()
    row = rows.nth(1)
    start, stop = (float(row.get_attribute(f"data-{edge}") or "nan") for edge in ("start", "stop"))
    visit.page.wait_for_function("document.querySelector('audio').readyState >= 3")
    row.locator("button").press("Enter")
    visit.page.wait_for_function(f"{hears(visit)} > {start}")
    visit.page.locator("#segments tr.now").wait_for()
    visit.page.wait_for_function(f"document.querySelector('audio').paused && {hears(visit)} >= {stop}")
    area = visit.page.locator(".track-area")
    area.press("Home")
    assert area.get_attribute("aria-valuenow") == "0.00"
    area.press("ArrowRight")
    assert float(area.get_attribute("aria-valuenow") or 0) > 0
    visit.screenshot("page-zh.png")


@ENGLISH
def test_several_files_get_a_row_each_and_the_bad_one_its_error(visit: Visit, recording: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.wav"
    notes.write_text("this is not audio\n" * 50)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(32_000), 16_000)
    visit.upload(recording, AUDIO / "jfk.flac", notes, silent)
    visit.recognize()
    rows = visit.page.locator("#files tbody tr")
    assert rows.count() == 4
    assert visit.page.locator("#files td.failed").count() == 1
    visit.page.get_by_role("button", name="jfk.flac", exact=True).click()
    visit.page.locator(".verdict .heard").get_by_text("jfk.flac").wait_for()
    visit.screenshot("page-en.png")
    visit.page.get_by_role("button", name="notes.wav", exact=True).click()
    card = visit.page.locator(".error")
    assert "Cause" in card.inner_text()
    assert "What to do" in card.inner_text()
    assert "Traceback" not in visit.page.content()
    assert visit.page.locator(".verdict").count() == 0
    table = list(csv.DictReader(download(visit, "results.csv", "#files").decode().splitlines()))
    assert len(table) == 4
    for place, row in enumerate(table):
        assert ("uncertain" in rows.nth(place).inner_text()) == (row["uncertain"] == "true")
    visit.page.locator("#history li").nth(2).wait_for()
    told = "".join(visit.page.locator("#history li .number").all_inner_texts())
    assert told.count("uncertain") == sum(row["uncertain"] == "true" for row in table)
    visit.page.get_by_role("button", name="silent.wav", exact=True).click()
    visit.page.locator('.notes li[data-code="silent"]').wait_for()
    assert visit.page.locator(".verdict .name").inner_text() == "silence"  # and none of the emotions of noise
    assert visit.page.locator("#files tr.chosen .feeling").inner_text() == "🔇 silence"
    visit.page.locator("#history li", has_text="silent.wav").get_by_text("🔇 silence").wait_for()


def test_an_error_is_in_the_pages_language_and_makes_room_for_the_next_answer(visit: Visit, recording: Path) -> None:
    visit.recognize()
    assert visit.page.locator(".error").get_attribute("data-code") == "page_no_audio"
    assert "原因" in visit.page.locator(".error").inner_text()
    visit.recognize()  # the same error again ends the same way
    visit.upload(recording)
    visit.start()
    visit.page.locator(".verdict").wait_for()
    assert visit.page.locator(".error").count() == 0


def test_what_the_microphone_records_joins_the_uploads(visit: Visit, recording: Path) -> None:
    visit.upload(recording)
    visit.page.get_by_text("麦克风录音").click()
    visit.page.locator("#microphone .record-button").click()
    visit.page.locator("#microphone .duration").get_by_text("0:01").wait_for()
    visit.page.locator("#microphone .stop-button").click()
    visit.page.locator("#upload tr.file").nth(1).wait_for()
    visit.page.locator("#microphone").get_by_label("清除").wait_for()
    visit.recognize()
    assert visit.page.locator("#files tbody tr").count() == 2
    assert visit.page.locator("#files td.failed").count() == 0


@ENGLISH
def test_the_page_speaks_the_browsers_language_until_told_otherwise(visit: Visit) -> None:
    """What is said in both: that the model is experimental, and the way to a better one."""
    assert "emotape models pull plus-large" in visit.page.locator(".banner").inner_text()
    assert visit.page.locator("#start").inner_text() == "Recognize"
    visit.page.locator("#language").click()
    visit.page.get_by_role("button", name="开始识别").wait_for()
    assert "emotape models pull plus-large" in visit.page.locator(".banner").inner_text()
    visit.page.wait_for_function("document.documentElement.lang === 'zh-CN'")  # as read aloud, in an English browser
    visit.page.goto(visit.page.url.removesuffix("zh/"))
    visit.page.get_by_role("button", name="开始识别").wait_for()


@ENGLISH
def test_samples_work_and_the_page_asks_nothing_of_any_other_machine(visit: Visit) -> None:
    visit.page.locator("#sample-surprised").click()
    visit.page.locator("#upload").get_by_text("surprised").first.wait_for()
    visit.choose("frame")
    visit.recognize()
    visit.page.locator(".curve polyline").first.wait_for()
    visit.page.wait_for_load_state("networkidle")
    assert visit.strangers == []
    visit.screenshot("frames.png")


def test_the_history_outlives_a_reload_in_both_languages_without_sound(visit: Visit, recording: Path) -> None:
    visit.upload(recording)
    visit.choose("segment")
    visit.recognize()
    before = visit.page.locator(".verdict .name").inner_text(), visit.page.locator(".bars").inner_text()
    stored = visit.page.evaluate("localStorage.getItem('emotape.history')")
    assert "page/results" not in stored
    visit.page.reload()
    visit.page.locator("#history li button").click()
    visit.page.locator(".stored").wait_for()
    assert (visit.page.locator(".verdict .name").inner_text(), visit.page.locator(".bars").inner_text()) == before
    assert visit.page.locator("audio").count() == 0
    visit.page.locator("#language").click()
    visit.page.get_by_role("button", name="Clear").click()
    assert visit.page.locator("#history li").count() == 0
    visit.page.reload()
    visit.page.locator("#start").wait_for()
    assert visit.page.locator("#history li").count() == 0


@ENGLISH
def test_the_monitor_shows_this_machine(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Monitor").click()
    visit.page.locator('.tile[data-key="cpu"]').wait_for()
    memory = visit.page.locator('.tile[data-key="memory"] .value').inner_text()
    assert 0 < float(memory.rstrip("%")) < 100
    visit.page.wait_for_function("document.querySelector('.spark polyline').points.length >= 4")
    visit.screenshot("monitor.png")


def test_two_visitors_at_once_get_each_their_own_answer(browser: Browser, server: Server, recording: Path) -> None:
    other = AUDIO / "jfk.flac"
    with visiting(browser, server.url) as first, visiting(browser, server.url, locale="en-GB") as second:
        first.upload(recording)
        second.upload(other)
        first.start()
        second.start()
        for visit, path in ((first, recording), (second, other)):
            visit.page.locator(".verdict").wait_for()
            assert path.name in visit.page.locator(".verdict .heard").inner_text()
            assert visit.page.locator("#history li").count() == 1


def test_a_phone_shows_everything_without_scrolling_sideways(
    browser: Browser, server: Server, recording: Path, tmp_path: Path
) -> None:
    long = tmp_path / "客服通话录音_退货咨询_第二次回访_王女士_上海分公司_2026年11月21日.wav"
    long.write_bytes(recording.read_bytes())
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with visiting(browser, server.url, device_scale_factor=2, **phone) as visit:
        visit.upload(recording, AUDIO / "jfk.flac", long)
        visit.choose("segment")
        visit.recognize()
        visit.page.locator("#segments tbody tr").first.wait_for()
        visit.page.locator("#history li").nth(2).wait_for()
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 360
        squeezed = visit.page.evaluate("""
            [...document.querySelectorAll("#files td, #history .when, #history .feeling, #history .number")]
              .filter((part) => part.scrollWidth > part.clientWidth || (part.innerText && part.clientWidth < 48))
              .map((part) => part.innerText)
        """)
        assert squeezed == []  # no name of a file takes the room of its answer
        right = "Math.max(...[...document.querySelectorAll('#stage .card')].map(e => e.getBoundingClientRect().right))"
        assert visit.page.evaluate(right) <= 360
        visit.page.locator(".play").tap()
        visit.page.wait_for_function(f"{hears(visit)} > 0")
        visit.screenshot("phone.png")

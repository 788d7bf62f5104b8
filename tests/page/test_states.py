"""The page in a real browser while things take time or go wrong, over a recognizer that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

from emotape.engine.progress import Progress
from emotape.errors import Overloaded
from tests.page.conftest import visiting, visiting_with
from tests.page.fake import FakeAdvice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.page.conftest import Stand, Visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    # Gradio's own bookkeeping, in its threads:
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(2).standard_normal(32_000), 16_000)
    return path


@pytest.fixture
def english(regulars: dict[str, BrowserContext], stand: Stand) -> Iterator[Visit]:
    with visiting_with(regulars["en-GB"], f"{stand.url}/en/") as opened:
        yield opened


def doing(visit: Visit, words: str) -> None:
    visit.page.locator("#progress .doing").get_by_text(words).wait_for()


def test_every_stage_is_shown_with_what_is_ahead(english: Visit, stand: Stand, recording: Path) -> None:
    stand.recognizer.held = True
    english.upload(recording)
    english.start()
    doing(english, "Queued behind 35 s of audio")
    assert english.page.locator("#progress progress").get_attribute("value") is None  # nobody knows how much is left
    assert serious(english.page) == []
    stand.recognizer.progress = Progress("running", windows=4, windows_done=2)
    doing(english, "window 3 of 4")
    english.page.wait_for_function("document.querySelector('#progress progress').value === 0.5")
    stand.recognizer.release()
    english.page.locator(".verdict").wait_for()
    assert english.page.locator("#progress .card").count() == 0


def test_cancelling_withdraws_the_request_and_the_next_one_works(english: Visit, stand: Stand, recording: Path) -> None:
    stand.recognizer.held = True
    english.upload(recording)
    english.start()
    doing(english, "Queued behind")
    english.page.locator("#cancel").click()
    english.page.locator("#result").get_by_text("Cancelled").wait_for()
    assert english.page.locator("#cancel").is_hidden()
    while not stand.recognizer.given[0].cancelled():  # the test's own time limit ends this
        english.page.evaluate("1")
    stand.recognizer.held = False
    english.recognize()
    assert english.page.locator(".verdict").count() == 1


def test_a_visitor_who_closes_the_page_withdraws_the_request(browser: Browser, stand: Stand, recording: Path) -> None:
    stand.recognizer.held = True
    with visiting(browser, f"{stand.url}/en/") as visit:
        visit.upload(recording)
        visit.start()
        doing(visit, "Queued behind")
    with visiting(browser, f"{stand.url}/en/") as other:
        while not stand.recognizer.given[0].cancelled():  # the test's own time limit ends this
            other.page.evaluate("1")


def test_a_loading_model_is_shown_and_a_request_waits_for_it(
    regulars: dict[str, BrowserContext], stand: Stand, recording: Path
) -> None:
    stand.recognizer.ready.clear()
    with visiting_with(regulars["zh-CN"], f"{stand.url}/zh/") as visit:
        visit.page.locator("#progress .loading").wait_for()
        visit.upload(recording)
        visit.start()
        visit.page.locator("#progress .card:not(.loading) .doing").get_by_text("正在加载模型").wait_for()
        stand.recognizer.ready.set()
        visit.page.locator(".verdict").wait_for()


@pytest.mark.parametrize(("language", "words"), [("en", "What to do"), ("zh", "解决办法")])
def test_a_full_queue_says_what_to_do_in_the_pages_language(
    regulars: dict[str, BrowserContext], stand: Stand, recording: Path, language: str, words: str
) -> None:
    stand.recognizer.failure = Overloaded(retry_after=3.0, waiting=600)
    with visiting_with(regulars["en-GB"], f"{stand.url}/{language}/") as visit:
        visit.upload(recording)
        visit.recognize()
        assert visit.page.locator(".error").get_attribute("data-code") == "overloaded"
        assert words in visit.page.locator(".error").inner_text()
    stand.recognizer.failure = None


def test_a_hostile_file_name_stays_text(english: Visit, recording: Path) -> None:
    hostile = recording.rename(recording.with_name("<img src=x onerror=alert(1)>&amp;.wav"))
    english.page.locator("#upload input[type=file]").first.set_input_files([hostile, hostile])
    english.page.locator("#upload tr.file").nth(1).wait_for()
    english.recognize()
    assert hostile.name in english.page.locator(".verdict .heard").inner_text()
    assert english.page.locator("#stage img").count() == 0
    english.page.locator("#history li button").first.click()
    english.page.locator(".stored").wait_for()
    assert english.page.locator("#stage img").count() == 0


def test_the_monitor_looks_every_second_while_it_is_seen_and_never_otherwise(english: Visit, stand: Stand) -> None:
    stand.watches.advice = (FakeAdvice("page_measuring"),)
    before = stand.watches.looks
    english.page.locator("#stage").wait_for()
    assert stand.watches.looks == before
    english.page.get_by_role("tab", name="Monitor").click()
    value = english.page.locator('.tile[data-key="cpu"] .value')
    value.wait_for()
    first = value.inner_text()
    english.page.wait_for_function(
        "first => document.querySelector('.tile[data-key=cpu] .value').innerText !== first", arg=first
    )
    assert english.page.locator("#advice li").get_attribute("data-code") == "page_measuring"
    assert english.page.locator('.tile[data-key="cache"]').count() == 0  # nothing is known of it
    english.page.get_by_role("tab", name="Recognition").click()
    english.page.locator("#start").wait_for()
    looks = stand.watches.looks
    english.page.evaluate("new Promise((wake) => setTimeout(wake, 1200))")  # longer than it takes to look again
    assert stand.watches.looks <= looks + 1  # one may have been on its way


def test_nothing_serious_stands_in_the_way_of_a_screen_reader(browser: Browser, stand: Stand, recording: Path) -> None:
    with visiting(browser, f"{stand.url}/zh/", reduced_motion="reduce") as visit:
        visit.upload(recording, recording)
        visit.choose("segment")
        visit.recognize()
        visit.page.locator("#segments tbody tr").first.wait_for()
        assert serious(visit.page) == []
        assert recording.name in visit.page.locator("#announce").inner_text()
        visit.page.get_by_role("tab", name="监控").click()
        visit.page.locator(".tile").first.wait_for()
        assert serious(visit.page) == []
    with visiting(browser, f"{stand.url}/en/", color_scheme="dark") as visit:
        visit.recognize()
        assert serious(visit.page) == []


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html']}"
        for violation in found
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"]
    ]

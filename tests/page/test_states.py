"""The page in a real browser while things take time or go wrong, over a recognizer that the test moves."""

from __future__ import annotations

import re
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

    from playwright.sync_api import Browser, BrowserContext, Page, Route

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


def test_files_that_are_dropped_or_pasted_anywhere_join_the_uploads(english: Visit) -> None:
    """A browser left to itself opens a dropped file in place of the page."""
    send = """([place, kind, name]) => {
        const carried = new DataTransfer();
        carried.items.add(new File(["sound"], name));
        const event = kind === "paste"
          ? new ClipboardEvent(kind, { clipboardData: carried, bubbles: true, cancelable: true })
          : new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true });
        document.querySelector(place).dispatchEvent(event);
        return event.defaultPrevented;
    }"""
    uploads = english.page.locator("#upload tr.file")
    ways = [("#upload button", "drop"), ("#stage", "drop"), ("#upload tr.file", "drop"), ("body", "paste")]
    for count, (place, kind) in enumerate(ways):
        assert english.page.evaluate(send, ["#stage", "dragover", "x"])  # or there would be no drop
        assert english.page.evaluate(send, [place, kind, f"{kind}{count}.wav"])
        uploads.get_by_text(f"{kind}{count}").wait_for()
    assert uploads.count() == len(ways)  # none of them twice


def test_a_request_that_the_framework_turns_down_ends_with_what_to_do(english: Visit, recording: Path) -> None:
    """As after a restart of the server, which no longer knows what was uploaded to the one before."""
    english.upload(recording)
    english.page.route("**/queue/join*", _as_uploaded_before)
    english.start()
    refusal = english.page.locator('#stage .error[data-code="page_refused"]')
    refusal.wait_for()
    assert "upload the recordings again" in refusal.inner_text()
    english.page.unroute("**/queue/join*")
    english.page.route("**/queue/join*", lambda route: None)  # never answered
    english.start()
    english.page.locator("#announce").get_by_text("Sending the request").wait_for()
    assert refusal.count() == 0


def _as_uploaded_before(route: Route) -> None:
    route.continue_(
        post_data=re.sub(r'"path":"[^"]+"', '"path":"/tmp/emotape-before/x.wav"', route.request.post_data or "")
    )


def test_a_page_that_is_loaded_again_says_that_the_recognition_did_not_finish(
    english: Visit, stand: Stand, recording: Path
) -> None:
    stand.recognizer.held = True
    english.upload(recording)
    english.start()
    doing(english, "Queued behind")
    english.page.reload()
    english.page.locator("#result").get_by_text("did not finish").wait_for()
    english.page.reload()
    english.page.locator("#result").get_by_text("press “Recognize”").wait_for()


def test_the_framework_says_that_the_server_is_gone_in_the_pages_language(
    browser: Browser, stand: Stand, recording: Path
) -> None:
    with visiting(browser, f"{stand.url}/zh/", locale="en-GB") as visit:
        visit.page.route("**/upload?*", lambda route: route.abort())
        visit.page.locator("#upload input[type=file]").first.set_input_files(recording)
        visit.page.locator(".toast-wrap").get_by_text("无法连接服务器").wait_for()
        title = visit.page.locator(".toast-title")
        assert title.inner_text().strip() == "出错了"
        assert title.evaluate("title => getComputedStyle(title).borderTopWidth") == "0px"  # no card of ours in theirs


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError'); }",
            "权限",
        ),
        (
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }",
            "没有找到",
        ),
        ("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })", "https"),
    ],
)
def test_a_microphone_that_cannot_be_used_says_why(browser: Browser, stand: Stand, refusal: str, words: str) -> None:
    context = browser.new_context(locale="zh-CN")
    context.add_init_script(refusal)
    with visiting_with(context, f"{stand.url}/zh/") as visit:
        visit.page.get_by_text("麦克风录音").click()
        assert visit.page.locator("#microphone").get_by_label("清除").is_hidden()  # there is nothing to clear
        with visit.page.expect_event("pageerror") as failure:  # the framework's own, which it leaves unhandled
            visit.page.locator("#microphone .record-button").click()
        assert "microphone" in str(failure.value)
        visit.page.locator("#record [role=alert]").get_by_text(words).wait_for()
        visit.failures.clear()
    context.close()


def test_microphones_that_have_no_names_yet_are_not_said_to_be_missing(browser: Browser, stand: Stand) -> None:
    context = browser.new_context(locale="zh-CN")
    context.add_init_script(
        "navigator.mediaDevices.enumerateDevices = async () => [{ kind: 'audioinput', deviceId: '' }]"
    )
    with visiting_with(context, f"{stand.url}/zh/") as visit:
        visit.page.get_by_text("麦克风录音").click()
        visit.page.locator("#microphone option").get_by_text("默认麦克风").wait_for(state="attached")
    context.close()


def test_arrow_keys_choose_the_granularity_and_show_where_they_are(english: Visit) -> None:
    english.page.locator("#granularity input").first.focus()
    english.page.keyboard.press("ArrowRight")
    english.page.keyboard.press("ArrowRight")
    chosen = english.page.locator("#granularity label:has(input:checked)")
    assert chosen.inner_text() == "segment"
    assert chosen.evaluate("label => getComputedStyle(label).outlineStyle") == "solid"
    english.page.keyboard.press("Tab")
    embedding = english.page.locator("#embedding label:has(input:focus)")
    assert embedding.evaluate("label => getComputedStyle(label).outlineStyle") == "solid"


def test_many_short_segments_keep_their_colours_and_long_stages_are_in_seconds(
    english: Visit, stand: Stand, recording: Path
) -> None:
    stand.recognizer.stretches = 1000
    english.upload(recording)
    english.choose("segment")
    english.recognize()
    widths = english.page.evaluate("""
        [...document.querySelectorAll(".strip span")].map((stretch) =>
          stretch.getBoundingClientRect().width - parseFloat(getComputedStyle(stretch).borderRightWidth))
    """)
    assert len(widths) == 1000
    assert min(widths) > 0
    assert english.page.locator("#segments td.number").first.evaluate("c => getComputedStyle(c).textAlign") == "right"
    assert english.page.locator("#log").get_by_text("12.50 s").count() == 1


def test_silence_and_hardly_any_speech_are_told_in_every_list(english: Visit, stand: Stand, recording: Path) -> None:
    stand.recognizer.warnings = ("little_speech",)
    english.upload(recording, recording)
    english.recognize()
    english.page.locator("#history li").nth(1).wait_for()
    for answers in (english.page.locator("#files td.number"), english.page.locator("#history .number")):
        assert all("hardly any speech" in words for words in answers.all_inner_texts())
    stand.recognizer.warnings = ("silent", "little_speech")
    english.recognize()
    english.page.locator(".verdict.silent").wait_for()
    assert english.page.locator("#announce").inner_text() == f"{recording.name}: silence"
    assert english.page.locator("#files td.feeling").all_inner_texts() == ["🔇 silence"] * 2


def test_a_recording_of_two_channels_says_that_they_were_mixed(english: Visit, tmp_path: Path) -> None:
    call = tmp_path / "call.wav"
    soundfile.write(call, 0.1 * np.random.default_rng(3).standard_normal((32_000, 2)), 16_000)
    english.upload(call)
    english.recognize()
    assert "--channels split" in english.page.locator('.notes li[data-code="mixed"]').inner_text()


def test_another_tab_of_the_same_browser_sees_what_is_recognized(english: Visit, stand: Stand, recording: Path) -> None:
    with visiting_with(english.page.context, f"{stand.url}/zh/") as other:
        english.upload(recording)
        english.recognize()
        other.page.locator("#history li").get_by_text(recording.name).wait_for()


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

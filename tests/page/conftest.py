"""A running server with the bundled model, and a browser that looks at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emotape.delivery.server import private_uploads, take_address, url_of
from emotape.engine.progress import Progress
from tests.page.fake import FakeRecognizer, FakeWatches

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


@dataclass
class Server:
    """`emotape serve` as a process of its own."""

    process: subprocess.Popen[str]
    url: str
    said: str  # until it was ready
    listener: threading.Thread  # keeps the pipe of what the server says empty

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(how)
        status = self.process.wait()
        self.listener.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


def start_server(temporary: Path, *arguments: str) -> Server:
    """Start the server on a free port and return when it says that it is ready."""
    command = [sys.executable, "-m", "emotape", "serve", "--port", "0", *arguments]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("EMOTAPE_")}
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=settings | {"TMPDIR": str(temporary), "XDG_DATA_HOME": str(temporary), "LC_ALL": "C.UTF-8"},
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        found = re.search(r"ready: (http://\S+)", line)
        if found:
            listener = threading.Thread(target=deque, args=(process.stderr, 0), daemon=True)
            listener.start()
            return Server(process, found[1], "".join(said), listener)
    raise AssertionError(f"the server left with {process.wait()}:\n{''.join(said)}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("serve"))
    yield running
    running.stop()


@pytest.fixture(scope="module")  # a running playwright keeps other tests from asyncio.run
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@dataclass
class Stand:
    """The page in this process, over a recognizer and a machine that the test moves."""

    url: str
    recognizer: FakeRecognizer
    watches: FakeWatches


@contextmanager
def standing(recognizer: FakeRecognizer, watches: FakeWatches) -> Iterator[Stand]:
    """Serve the page from a thread of its own, where no other event loop is in the way."""
    import uvicorn
    from fastapi import FastAPI

    from emotape.audio.decode import DecodeLimits

    app = FastAPI()
    started = threading.Event()

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    serving = Announcing(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))

    def serve() -> None:
        from emotape.delivery import ui

        ui.mount(app, recognizer, ui.PageOptions(experimental=True, limits=DecodeLimits()), watches)
        serving.run(sockets=[listener])

    with private_uploads(), closing(take_address("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        started.wait()
        yield Stand(url_of(listener), recognizer, watches)
        recognizer.ready.set()
        recognizer.release()
        serving.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def running_stand() -> Iterator[Stand]:
    with standing(FakeRecognizer(), FakeWatches()) as stand:
        yield stand


@pytest.fixture
def stand(running_stand: Stand) -> Stand:
    """The page over a recognizer that is ready and answers at once, and a machine without advice."""
    running_stand.recognizer.release()
    running_stand.recognizer.ready.set()
    running_stand.recognizer.given.clear()
    running_stand.recognizer.warnings = ()
    running_stand.recognizer.stretches = 2
    running_stand.recognizer.progress = Progress("queued", ahead_seconds=35.0)
    running_stand.watches.advice = ()
    return running_stand


@dataclass
class Visit:
    """One visitor's page, every address outside this machine that it asked for, and what its scripts failed at."""

    page: Page
    strangers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def upload(self, *paths: Path) -> None:
        self.page.locator("#upload input[type=file]").first.set_input_files(list(paths))
        for path in paths:
            self.page.locator("#upload").get_by_text(path.stem).first.wait_for()

    def choose(self, granularity: str) -> None:
        self.page.locator(f"#granularity input[value={granularity}]").check()

    def start(self) -> None:
        self.page.locator("#start").click()

    def recognize(self) -> None:
        self.start()
        self.page.locator(".verdict, .error").first.wait_for()
        self.page.locator("#actions:not(.busy)").wait_for()

    def screenshot(self, name: str) -> None:
        if os.environ.get("EMOTAPE_SCREENSHOTS") == "1":
            IMAGES.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=IMAGES / name, full_page=True)


@contextmanager
def visiting(browser: Browser, url: str, **context: Any) -> Iterator[Visit]:
    """Open the page as a visitor of its own, whose browser prefers Chinese unless told otherwise."""
    opened = browser.new_context(**{"locale": "zh-CN", "viewport": {"width": 1280, "height": 900}, **context})
    with visiting_with(opened, url) as visit:
        yield visit
    opened.close()


@contextmanager
def visiting_with(context: BrowserContext, url: str) -> Iterator[Visit]:
    """Open the page in a browser that may have been there before: what it loaded then is quick to show again."""
    visit = Visit(context.new_page())
    visit.page.set_default_timeout(40_000)
    visit.page.on("request", lambda asked: _note(asked.url, url, visit.strangers))
    visit.page.on("pageerror", lambda error: visit.failures.append(str(error)))
    visit.page.goto(url)
    visit.page.locator("#start").wait_for()
    visit.page.locator("#granularity input[name=granularity]").first.wait_for()  # the page's own scripts have begun
    yield visit
    visit.page.evaluate("localStorage.clear()")
    visit.page.close()
    context.clear_cookies()
    assert visit.failures == []


@pytest.fixture(scope="module")
def regulars(browser: Browser) -> Iterator[dict[str, BrowserContext]]:
    """A browser of each language, for tests that do not need one of their own."""
    with ExitStack() as stack:
        contexts = {
            locale: browser.new_context(locale=locale, viewport={"width": 1280, "height": 900})
            for locale in ("zh-CN", "en-GB")
        }
        for context in contexts.values():
            stack.callback(context.close)
        yield contexts


@pytest.fixture
def visit(regulars: dict[str, BrowserContext], server: Server, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Open the front door of the real server with the given browser language, Chinese by default."""
    with visiting_with(regulars[getattr(request, "param", "zh-CN")], server.url) as opened:
        yield opened


def _note(address: str, home: str, strangers: list[str]) -> None:
    if not address.startswith((home.removesuffix("/en/").removesuffix("/zh/"), "data:", "blob:")):
        strangers.append(address)

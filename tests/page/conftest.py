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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

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
class Visit:
    """One visitor's page, and every address outside this machine that it asked for."""

    page: Page
    strangers: list[str]


@pytest.fixture
def visit(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Open the front door with the browser language of the `locale` mark's value, Chinese by default."""
    locale = getattr(request, "param", "zh-CN")
    context = browser.new_context(locale=locale, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    strangers: list[str] = []
    page.on("request", lambda asked: _note(asked.url, server.url, strangers))
    page.goto(server.url)
    page.locator("#start").wait_for()
    yield Visit(page, strangers)
    context.close()


def _note(address: str, home: str, strangers: list[str]) -> None:
    if not address.startswith((home, "data:", "blob:")):
        strangers.append(address)

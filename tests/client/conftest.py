"""The client against real servers: one over the bundled model with jobs and a key, and one that fails as it is told."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from emotape.client.connection import ClientOptions
from emotape.client.retry import Retry
from emotape.delivery.api.durable import DurableOptions, Jobs
from emotape.delivery.api.keys import KeyRing
from emotape.recognizer import Recognizer
from tests.api.conftest import ready, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ONCE = ClientOptions(retry=Retry(attempts=1))


@pytest.fixture(scope="session")
def recognizer() -> Iterator[Recognizer]:
    with Recognizer() as opened:
        yield opened


@dataclass(frozen=True)
class Place:
    """Where a server is, and the key that opens it."""

    url: str
    key: str


@pytest.fixture(scope="session")
def place(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("server")
    keys = KeyRing(folder / "keys.json")
    key = keys.create("tests")
    jobs = Jobs(DurableOptions(folder / "jobs"), recognizer)
    jobs.start()
    try:
        with running(ready(recognizer, keys=keys, jobs=jobs)) as url:
            yield Place(url, key)
    finally:
        jobs.stop(10)
        jobs.close()


@dataclass
class Flaky:
    """A server that answers as listed, one entry a request; None hangs up. It keeps what came."""

    answers: list[tuple[int, dict[str, str], bytes] | None]
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator[Flaky]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(flaky: Flaky) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            flaky.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            answer = flaky.answers.pop(0)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_DELETE = do_POST  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None: ...

    return Handler


class Sleeper:
    """Sleeps that take no time and are noted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def later(self, seconds: float) -> None:
        self.slept.append(seconds)

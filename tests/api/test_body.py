"""Bodies over a real connection: too large, too slow, broken off, and what a good request notices of it."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from emotape.delivery.api.app import create_app
from emotape.delivery.api.body import Body
from emotape.delivery.api.service import ApiOptions
from emotape.delivery.exchanges import Exchanges
from emotape.engine.progress import Pending
from emotape.errors import BadRequest, TooLong
from tests.api.conftest import SPEECH, ImpatientProtocol, error_of, ready, running, upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from starlette.requests import Request

    from emotape.recognizer import Recognizer

LIMIT = 100_000


@pytest.fixture(scope="module")
def address(recognizer: Recognizer) -> Iterator[str]:
    options = ApiOptions(body_bytes=LIMIT, body_seconds=0.3)
    with running(ready(recognizer, options=options)) as url:
        yield url


def connect(address: str) -> socket.socket:
    found = urlsplit(address)
    return socket.create_connection((found.hostname, found.port), timeout=30)


def head(*headers: str, target: str = "/v1/recognize") -> bytes:
    lines = (f"POST {target} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: audio/ogg", *headers)
    return "\r\n".join((*lines, "", "")).encode()


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of an answer, after which the server closes."""
    received = b""
    while block := connection.recv(65_536):
        received += block
    first, _, rest = received.partition(b"\r\n\r\n")
    assert b"connection: close" in first.lower()
    length = int(next(line for line in first.split(b"\r\n") if line.lower().startswith(b"content-length")).split()[1])
    return int(first.split()[1]), json.loads(rest[:length])


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(head(f"Content-Length: {10**12}"))
        status, body = answer(connection)
    assert (status, body["error"]["code"]) == (413, "body_too_large")


def test_a_body_that_does_not_say_so_is_cut_where_the_limit_is(address: str) -> None:
    sent = 0
    with connect(address) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        block = b"2000\r\n" + bytes(0x2000) + b"\r\n"
        while sent <= LIMIT:
            connection.sendall(block)
            sent += 0x2000
        status, body = answer(connection)
    assert (status, body["error"]["code"]) == (413, "body_too_large")


def test_a_client_that_is_still_sending_sees_why_it_was_refused(address: str) -> None:
    answered = httpx.post(f"{address}/v1/recognize", content=bytes(20_000_000), headers={"content-type": "audio/wav"})
    assert answered.status_code == 413


@pytest.mark.parametrize("kind", ["Content-Length: 50000", "Transfer-Encoding: chunked"])
def test_a_body_that_stops_coming_is_cut_off(address: str, kind: str) -> None:
    with connect(address) as connection:
        connection.sendall(head(kind) + (b"5\r\nhello\r\n" if "chunked" in kind else b"hello"))
        status, body = answer(connection)
    assert (status, body["error"]["code"]) == (408, "body_too_slow")


@pytest.mark.parametrize("sent", [b"", b"POST /v1/rec", b"POST /v1/recognize HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "])
def test_a_connection_whose_request_never_begins_is_closed(address: str, sent: bytes) -> None:
    with connect(address) as connection:
        connection.sendall(sent)
        assert connection.recv(1) == b""


def dribble(connection: socket.socket) -> None:
    """Send a head byte by byte for ever, until the server closes."""
    connection.sendall(b"GET /livez HTTP/1.1\r\n")
    connection.settimeout(0.05)
    while True:  # the test's own time limit ends this
        connection.sendall(b"X")
        with suppress(TimeoutError):
            if connection.recv(1) == b"":
                raise ConnectionResetError


def test_a_head_that_comes_in_drops_is_cut_off(address: str) -> None:
    with connect(address) as connection, pytest.raises(ConnectionError):
        dribble(connection)


def test_a_good_client_keeps_its_connection(address: str) -> None:
    with httpx.Client() as client:
        for _ in range(3):
            answered = client.post(f"{address}/v1/recognize", files=[upload()])
            assert answered.status_code == 200
            assert "connection" not in answered.headers


def test_a_connection_that_rests_between_requests_is_not_taken_for_a_slow_one(recognizer: Recognizer) -> None:
    looked = threading.Semaphore(0)

    class Watched(ImpatientProtocol):
        def _look(self) -> None:
            super()._look()
            looked.release()

    with running(ready(recognizer), protocol=Watched) as url, httpx.Client() as client:
        for _ in range(2):
            before = client.get(f"{url}/livez").extensions["network_stream"].get_extra_info("client_addr")
            for _ in range(3):
                looked.acquire()
            after = client.get(f"{url}/livez").extensions["network_stream"].get_extra_info("client_addr")
            assert after == before


def test_the_head_of_a_second_request_that_comes_in_drops_is_cut_off(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        with pytest.raises(ConnectionError):
            dribble(connection)


def test_small_recordings_never_touch_the_disk(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    sent = SPEECH.read_bytes()
    assert httpx.post(f"{address}/v1/recognize", content=sent, headers={"content-type": "audio/ogg"}).is_success
    assert httpx.post(f"{address}/v1/recognize", files=[upload()]).is_success


@pytest.mark.parametrize("target", ["/v1/recognize", "/v1/compare"])
def test_a_disk_without_room_for_a_recording_is_told(
    client: TestClient, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Path("/dev/full").open("w+b"))  # noqa: SIM115 - as it is
    sent = bytes(2_000_000)
    bare = client.post(target, content=sent, headers={"content-type": "audio/wav"})
    form = client.post(target, files={"file": ("a.wav", sent)})
    for answered in (bare, form):
        assert answered.status_code == 500
        assert error_of(answered)["code"] == "upload_disk_full"


def test_the_time_that_a_body_may_take_grows_with_what_has_come() -> None:
    async def flow(part: bytes, count: int, options: ApiOptions) -> None:
        left = iter(range(count, 0, -1))

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": part, "more_body": next(left) > 1}

        body = Body({"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}, receive, options)
        while not body.ended:
            await body.receive()

    asyncio.run(flow(bytes(1000), 1000, ApiOptions(body_seconds=0.05)))
    with pytest.raises(TooLong):
        asyncio.run(flow(bytes(1000), 1000, ApiOptions(body_bytes=999_999)))
    with pytest.raises(BadRequest, match="body_too_slow"):
        asyncio.run(flow(b"", 100_000_000, ApiOptions(body_seconds=0.05)))


class Endless:
    """A recognizer that never answers."""

    def __init__(self) -> None:
        self.asked: list[Pending[Any]] = []
        self.labels = ()

    def submit(self, _: object, **__: object) -> Pending[Any]:
        self.asked.append(Pending())
        return self.asked[-1]


def test_a_client_that_leaves_withdraws_its_work() -> None:
    recognizer = Endless()
    service = ready(recognizer)
    app = create_app(service)
    headers = [(b"host", b"x"), (b"content-type", b"audio/ogg"), (b"content-length", b"4")]
    scope = {"type": "http", "method": "POST", "path": "/v1/recognize", "query_string": b"", "headers": headers}
    sent: list[Any] = []

    async def leave() -> None:
        messages = iter([{"type": "http.request", "body": b"RIFF", "more_body": False}])

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            if message is None:
                while not recognizer.asked:
                    await asyncio.sleep(0)
            return message or {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({**scope, "scheme": "http", "server": ("x", 80), "root_path": "", "raw_path": b""}, receive, send)

    asyncio.run(leave())
    (asked,) = recognizer.asked
    assert asked.cancelled()
    assert service.readiness.under_way == 0


def page_of_a_framework() -> tuple[FastAPI, list[int]]:
    """Return an interface with a page whose framework answers its own failures, and the statuses of its answers."""
    app = create_app(ready(Endless()))
    statuses: list[int] = []

    async def take(request: Request) -> Response:
        await request.body()
        return Response("taken")

    page = Starlette(routes=[Route("/upload", take, methods=["POST"])])
    app.mount("/page", page)
    app.add_middleware(Exchanges, [lambda exchange: statuses.append(exchange.status)])
    return app, statuses


def test_an_upload_to_the_page_that_breaks_off_is_no_failure() -> None:
    app, statuses = page_of_a_framework()
    parts = iter([{"type": "http.request", "body": b"a", "more_body": True}])
    headers = [(b"host", b"x"), (b"content-length", b"9")]
    scope = {"type": "http", "method": "POST", "path": "/page/upload", "query_string": b"", "headers": headers}

    async def receive() -> dict[str, Any]:
        return next(parts, {"type": "http.disconnect"})

    async def send(_: Any) -> None:
        pass

    asyncio.run(app({**scope, "scheme": "http", "server": ("x", 80), "root_path": "", "raw_path": b""}, receive, send))
    assert statuses == [499]


def test_the_page_keeps_its_connection_after_an_upload() -> None:
    app, statuses = page_of_a_framework()
    with TestClient(app, base_url="http://x") as client:
        assert "connection" not in client.post("/page/upload", content=b"all of it").headers
    assert statuses == [200]


def test_requests_wait_side_by_side_and_health_is_answered_meanwhile() -> None:
    """The loop is never blocked: while twenty requests wait for an answer, others are answered."""
    recognizer = Endless()
    service = ready(recognizer)
    with running(service) as url, httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(client.post, "/v1/recognize", content=SPEECH.read_bytes()) for _ in range(20)]
        while len(recognizer.asked) < 20:  # the test's own time limit ends this
            assert client.get("/livez").status_code == 200
        assert service.readiness.under_way == 20
        for asked in recognizer.asked:
            asked.set_exception(BadRequest("no_files"))
        assert {answered.result().status_code for answered in waiting} == {422}

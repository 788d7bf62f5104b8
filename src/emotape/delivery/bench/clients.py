"""Clients of an HTTP service: each sends the next recording as soon as it has its answer."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import count
from threading import Event, local
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterable
    from http.client import HTTPResponse

_PATIENCE: Final = 600.0  # seconds without a byte after which a server is given up
_REFUSED: Final = 429
_NO_ANSWER: Final = 0


@dataclass(frozen=True)
class Reply:
    """What became of one request: the last status (0: no answer), seconds in all, and how often it was refused."""

    status: int
    seconds: float
    refusals: int = 0

    @property
    def good(self) -> bool:
        """Whether the recording was recognized."""
        return self.status == 200


class Dialect(Protocol):
    """How a recording is sent to a server."""

    def __call__(self, connection: HTTPConnection, recording: bytes) -> tuple[int, float]:
        """Send a recording; return the status, and after how many seconds to come again if it is a refusal."""


def emotape(connection: HTTPConnection, recording: bytes) -> tuple[int, float]:
    """Send a recording as the body of `POST /v1/recognize`."""
    return _verdict(_exchanged(connection, "POST", "/v1/recognize", recording, "audio/wav")[0])


def handler(connection: HTTPConnection, recording: bytes) -> tuple[int, float]:
    """Send a recording as a form to `POST /recognize`."""
    return _verdict(_exchanged(connection, "POST", "/recognize", *_form("file", recording))[0])


def gradio(connection: HTTPConnection, recording: bytes) -> tuple[int, float]:
    """Upload a recording, join the queue and wait for the event that ends it, as a page does."""
    response, paths = _exchanged(connection, "POST", "/gradio_api/upload", *_form("files", recording))
    if response.status != 200:
        return response.status, 1.0
    file = {"path": json.loads(paths)[0], "meta": {"_type": "gradio.FileData"}}
    given = json.dumps({"data": [file]}).encode()
    response, answer = _exchanged(connection, "POST", "/gradio_api/call/recognize", given, "application/json")
    if response.status != 200:
        return response.status, 1.0
    identity = json.loads(answer)["event_id"]
    _, events = _exchanged(connection, "GET", f"/gradio_api/call/recognize/{identity}")
    return (200 if b"event: complete" in events else 500), 1.0


def ask(url: str, dialect: Dialect, recordings: Iterable[bytes], clients: int) -> list[Reply]:
    """Let `clients` clients send all recordings. A refused one comes again when it was told to."""
    address = urlsplit(url)
    own, opened = local(), list[HTTPConnection]()  # every client keeps its connection
    never = Event()

    def connection() -> HTTPConnection:
        if not hasattr(own, "connection"):
            own.connection = HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE)
            opened.append(own.connection)
        found: HTTPConnection = own.connection
        return found

    def one(recording: bytes) -> Reply:
        began = time.perf_counter()
        for refusals in count():
            try:
                status, later = dialect(connection(), recording)
            except (OSError, HTTPException):
                connection().close()  # it opens again at the next request
                status, later = _NO_ANSWER, 0.0
            if status != _REFUSED:
                return Reply(status, time.perf_counter() - began, refusals)
            never.wait(later)
        raise AssertionError("counting never ends")

    try:
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(one, recordings))
    finally:
        for kept in opened:
            kept.close()


def _exchanged(
    connection: HTTPConnection, method: str, path: str, body: bytes | None = None, kind: str | None = None
) -> tuple[HTTPResponse, bytes]:
    """Send a request with a body of a kind; return the answer, and its body."""
    connection.request(method, path, body, {} if kind is None else {"Content-Type": kind})
    response = connection.getresponse()
    return response, response.read()


def _verdict(response: HTTPResponse) -> tuple[int, float]:
    return response.status, float(response.headers.get("Retry-After", 1))


def _form(field: str, recording: bytes) -> tuple[bytes, str]:
    """Return a multipart form with one file, and its content type."""
    boundary = uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    return head.encode() + recording + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

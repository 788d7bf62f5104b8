"""Clients of an HTTP service: each sends the next recording as soon as it has its answer."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from itertools import count
from threading import Event, local
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    return _status(connection, "POST", "/v1/recognize", recording, {"Content-Type": "audio/wav"})


def handler(connection: HTTPConnection, recording: bytes) -> tuple[int, float]:
    """Send a recording as a form to `POST /recognize`."""
    body, kind = _form("file", recording)
    return _status(connection, "POST", "/recognize", body, {"Content-Type": kind})


def gradio(connection: HTTPConnection, recording: bytes) -> tuple[int, float]:
    """Upload a recording, join the queue and wait for the event that ends it, as a page does."""
    body, kind = _form("files", recording)
    status, paths = _asked(connection, "POST", "/gradio_api/upload", body, {"Content-Type": kind})
    if status != 200:
        return status, 1.0
    file = {"path": json.loads(paths)[0], "meta": {"_type": "gradio.FileData"}}
    given = json.dumps({"data": [file]}).encode()
    status, answer = _asked(
        connection, "POST", "/gradio_api/call/recognize", given, {"Content-Type": "application/json"}
    )
    if status != 200:
        return status, 1.0
    identity = json.loads(answer)["event_id"]
    _, events = _asked(connection, "GET", f"/gradio_api/call/recognize/{identity}", None, {})
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


def is_ready(url: str, path: str) -> bool:
    """Return whether a server answers `GET path` with 200."""
    address = urlsplit(url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE)) as connection:
        try:
            return _asked(connection, "GET", path, None, {})[0] == 200
        except (OSError, HTTPException):
            return False


def _status(
    connection: HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, float]:
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    response.read()
    return response.status, float(response.headers.get("Retry-After", 1))


def _asked(
    connection: HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    return response.status, response.read()


def _form(field: str, recording: bytes) -> tuple[bytes, str]:
    """Return a multipart form with one file, and its content type."""
    boundary = uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    return head.encode() + recording + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

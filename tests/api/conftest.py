"""The interface over the bundled model: one recognizer for all tests, a client in the process, a server on a port."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from emotape.delivery.api.app import create_app
from emotape.delivery.api.connection import PromptProtocol
from emotape.delivery.api.service import Service
from emotape.delivery.server import take_address, url_of
from emotape.recognizer import Recognizer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from emotape.delivery.observation import Observation

AUDIO = Path(__file__).parents[1] / "data" / "audio"
SPEECH = AUDIO / "thorsten_neutral.opus"
ORIGIN = "http://127.0.0.1"


@pytest.fixture(scope="session")
def recognizer() -> Iterator[Recognizer]:
    with Recognizer() as opened:
        yield opened


def ready(recognizer: Any, **parts: Any) -> Service:
    """Return a service that takes work."""
    service = Service(recognizer, **parts)
    service.readiness.mark_ready()
    return service


@contextmanager
def visiting(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), base_url=ORIGIN) as opened:
        yield opened


@pytest.fixture(scope="session")
def client(recognizer: Recognizer) -> Iterator[TestClient]:
    with visiting(ready(recognizer)) as opened:
        yield opened


class ImpatientProtocol(PromptProtocol):
    """Connections as `emotape serve` has them, with a shorter wait for the head of a request."""

    head_seconds = 0.2


class Announcing(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def running(
    service: Service,
    observation: Observation | None = None,
    protocol: type[PromptProtocol] = ImpatientProtocol,
) -> Iterator[str]:
    """Serve on a port of its own, and give the address."""
    listener = take_address("127.0.0.1", 0)
    interface = create_app(service)
    if observation is not None:
        observation.install(interface, service)
    config = uvicorn.Config(interface, http=protocol, log_level="critical", access_log=False)
    server = Announcing(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    server.listening.wait()
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()


def upload(path: Path = SPEECH, name: str | None = None) -> tuple[str, tuple[str, bytes]]:
    """Return one file of a form."""
    return "file", (name or path.name, path.read_bytes())


def error_of(response: Any) -> dict[str, Any]:
    """Return the error of an answer, after checking that it has the one shape."""
    body = response.json()
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "cause", "cure", "request_id"}
    assert all(isinstance(part, str) and part for part in error.values())
    assert error["request_id"] == response.headers["x-request-id"]
    return error

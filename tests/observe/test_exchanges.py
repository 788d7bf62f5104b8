"""Exchanges: what metrics and logs are told of a request, and what they never are."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient

from emotape.delivery.exchanges import Exchange, Exchanges
from emotape.delivery.logs import LogOptions, exchanged, report, say, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.observe.conftest import Observed


@pytest.fixture
def heard() -> list[Exchange]:
    return []


@pytest.fixture
def client(heard: list[Exchange]) -> Iterator[TestClient]:
    app, inner = FastAPI(), FastAPI()

    @app.get("/v1/jobs/{job}")
    def job(job: str) -> str:
        return job

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("a bug")

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    @inner.get("/file/{path:path}")
    def file(path: str) -> str:
        return path

    app.mount("/zh", inner)
    app.add_middleware(Exchanges, (heard.append,))
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def test_routes_are_templates_also_below_a_mount(client: TestClient, heard: list[Exchange]) -> None:
    for path in ("/v1/jobs/7", "/zh/file/a/b", "/zh/nothing", "/nothing"):
        client.get(path)
    with client.websocket_connect("/v1/stream"):
        pass
    assert [(each.method, each.route, each.status) for each in heard] == [
        ("GET", "/v1/jobs/{job}", 200),
        ("GET", "/zh/file/{path:path}", 200),
        ("GET", "/zh/*", 404),
        ("GET", "unmatched", 404),
        ("WEBSOCKET", "/v1/stream", 101),
    ]
    assert all(each.seconds > 0 for each in heard)


def test_an_application_that_breaks_is_told_as_500(client: TestClient, heard: list[Exchange]) -> None:
    assert client.get("/broken").status_code == 500
    assert [each.status for each in heard] == [500]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_of_json_tells_all_but_content(
    desk: Observed, speech: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Route, status, seconds, audio seconds, code, ids: no names of files, no headers, no keys."""
    with written(LogOptions("json")):
        desk.send(speech, **{"x-request-id": "mine-1", "x-api-key": "emo_SECRET", "user-agent": "somebody"})
        desk.send(b"words that are no audio")
    first, second = lines(capsys)
    assert (first["request_id"], first["route"], first["status"]) == ("mine-1", "/v1/recognize", 200)
    assert (first["recordings"], first["audio_seconds"]) == (1, 1.592)
    assert first["seconds"] > 0
    assert len(first["trace_id"]) == 32
    assert (second["status"], second["code"]) == (415, "text_not_audio")
    for line in (first, second):
        told = json.dumps(line)
        assert not any(secret in told for secret in ("secret-name", "SECRET", "somebody", "words", "127.0.0.1"))


def test_text_is_quiet_unless_asked(desk: Observed, speech: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with written(LogOptions()):
        desk.send(speech)
        say("serve_ready", "en", url="http://127.0.0.1:1")
    assert len(capsys.readouterr().err.splitlines()) == 1, "only that it is ready"
    with written(LogOptions(level="info")):
        desk.client.get("/livez", headers={"x-request-id": "mine-2"})
    told = capsys.readouterr().err
    assert told.startswith("INFO: GET /livez 200 ")
    assert told.endswith(" mine-2\n")


@pytest.fixture
def _uvicorn_speaks() -> Iterator[None]:
    """Undo for a test what servers of other tests in this process told uvicorn's logger."""
    logger = logging.getLogger("uvicorn.error")
    before, logger.disabled = (logger.level, logger.disabled), False
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(before[0])
    logger.disabled = before[1]


@pytest.mark.usefixtures("_uvicorn_speaks")
def test_what_the_server_and_uvicorn_say_is_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with written(LogOptions("json")):
        say("serve_ready", "zh", url="http://127.0.0.1:1")
        report("device_full", "two\nlines")
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("opentelemetry.exporter").error("not reached")
        logging.getLogger("emotape").error("a fault", exc_info=ValueError("why\u2028so"))
    found = lines(capsys)
    assert [line["logger"] for line in found] == [
        "emotape.notices", "emotape.notices", "uvicorn.error", "opentelemetry.exporter", "emotape",
    ]  # fmt: skip
    assert (found[0]["event"], found[0]["level"]) == ("serve_ready", "info")
    assert (found[1]["code"], found[1]["message"]) == ("device_full", "two\nlines")
    assert "ValueError" in found[4]["exception"]


def test_afterwards_everything_is_as_before() -> None:
    """A process that serves for a while, as tests do, keeps its own loggers."""
    ours = logging.getLogger("emotape")
    before = (list(ours.handlers), ours.level, ours.propagate)
    with written(LogOptions("json", "debug")):
        assert ours.level == logging.DEBUG
    assert (list(ours.handlers), ours.level, ours.propagate) == before


def test_a_level_that_leaves_exchanges_out_costs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with written(LogOptions("json", "error")):
        exchanged(Exchange("id", "GET", "/livez", 200, 0.1))
    assert capsys.readouterr().err == ""

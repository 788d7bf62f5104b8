"""When the client asks again, how long it waits, and what it makes of answers that are none."""

from __future__ import annotations

import ast
import asyncio
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

import emotape
from emotape.client.connection import ClientOptions
from emotape.client.errors import KINDS, RemoteError, told
from emotape.client.retry import Retry
from emotape.client.synchronous import Client
from emotape.errors import BadAudio, BadRequest, EngineFault, Expired, ModelFault, NotReady, Overloaded, TooLong
from tests.client.conftest import ONCE, Flaky, Sleeper

SOURCE = Path(emotape.__file__).parent
ANGRY = {
    "file": "recording",
    "emotion": "angry",
    "confidence": 1.0,
    "scores": {"angry": 1.0},
    "granularity": "utterance",
    "timestamp": "2026-01-04 22:30:00",
    "details": {
        "experimental": False,
        "seconds": 1.0,
        "speech_seconds": 1.0,
        "windows": [[0.0, 1.0]],
        "warnings": [],
        "labels": {"angry": {"en": "Angry", "zh": "愤怒", "emoji": "😠"}},
        "provenance": dict.fromkeys(("version", "model", "model_digest", "dtype", "device", "audio_sha256"), "x"),
        "stages": {},
    },
}
Reply = tuple[int, dict[str, str], bytes]
GOOD: Reply = (200, {}, json.dumps(ANGRY).encode())


def refusal(status: int, code: str, **headers: str) -> Reply:
    error = {"code": code, "message": "m", "cause": "c", "cure": "r", "request_id": "abc"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"content-type": "application/json"} | named, json.dumps({"error": error}).encode()


def asked(flaky: Flaky, sleeper: Sleeper, options: ClientOptions, kind: str) -> Any:
    """Recognize something with either client."""
    if kind == "blocking":
        with Client(flaky.url, "emo_key", options=options, sleep=sleeper) as client:
            return client.recognize(b"sound")

    async def later() -> Any:
        async with emotape.AsyncClient(flaky.url, "emo_key", options=options, sleep=sleeper.later) as client:
            return await client.recognize(b"sound")

    return asyncio.run(later())


@pytest.fixture(params=["blocking", "asynchronous"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


SURE = ClientOptions(retry=Retry(attempts=4, first=1.0, most=3.0, chance=lambda: 1.0))


def test_refusals_and_lost_connections_are_tried_again_later_each_time_with_the_whole_body(kind: str) -> None:
    answers = [None, refusal(503, "service_loading"), refusal(429, "overloaded", retry_after="7"), GOOD]
    with Flaky(list(answers)).serving() as flaky:
        sleeper = Sleeper()
        assert asked(flaky, sleeper, SURE, kind).emotion == "angry"
        assert sleeper.slept == [1.0, 2.0, 7.0]
        assert [body for *_, body in flaky.requests] == [b"sound"] * 4
        assert {sent["authorization"] for _, sent, _ in flaky.requests} == {"Bearer emo_key"}


def test_the_last_refusal_is_the_answer(kind: str) -> None:
    with Flaky([refusal(429, "overloaded", retry_after="2")] * 4).serving() as flaky:
        sleeper = Sleeper()
        with pytest.raises(Overloaded) as raised:
            asked(flaky, sleeper, SURE, kind)
        assert raised.value.retry_after == 2.0
        assert len(sleeper.slept) == 3


def test_a_server_that_wants_too_much_patience_is_not_waited_for(kind: str) -> None:
    with Flaky([refusal(503, "service_draining", retry_after="3600")]).serving() as flaky:
        sleeper = Sleeper()
        with pytest.raises(NotReady):
            asked(flaky, sleeper, SURE, kind)
        assert sleeper.slept == []


def test_what_a_proxy_lost_is_asked_for_again(kind: str) -> None:
    """A cluster's proxy answers so when the replica that worked on a request is gone."""
    with Flaky([(500, {"content-type": "text/plain"}, b"Internal Server Error"), GOOD]).serving() as flaky:
        sleeper = Sleeper()
        assert asked(flaky, sleeper, SURE, kind).emotion == "angry"
        assert len(sleeper.slept) == 1


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (refusal(422, "too_short"), BadAudio, "too_short"),
        (refusal(413, "too_many_seconds"), TooLong, "too_many_seconds"),
        (refusal(500, "run_failed"), EngineFault, "run_failed"),
        (refusal(418, "from_another_version"), BadRequest, "from_another_version"),
        (refusal(599, "from_another_version"), RemoteError, "from_another_version"),
        ((200, {}, b"<html>"), RemoteError, "server_answer"),
        ((200, {}, b"[]"), RemoteError, "server_answer"),
        ((404, {}, b"<html>"), RemoteError, "server_answer"),
        ((302, {"location": "/login"}, b""), RemoteError, "server_answer"),
    ],
)
def test_other_answers_are_final(kind: str, answer: Any, error: type[Exception], code: str) -> None:
    with Flaky([answer]).serving() as flaky:
        with pytest.raises(error) as raised:
            asked(flaky, Sleeper(), SURE, kind)
        assert raised.value.code == code  # type: ignore[attr-defined]
        assert len(flaky.requests) == 1


def test_a_job_that_is_sent_again_carries_the_same_key() -> None:
    job: Reply = (202, {}, json.dumps({"id": "j", "state": "queued", "files": 1, "counts": {"queued": 1}}).encode())
    with Flaky([None, job]).serving() as flaky:
        with Client(flaky.url, options=SURE, sleep=Sleeper()) as client:
            assert client.submit_job([b"sound"]).id == "j"
        keys = {sent["idempotency-key"] for _, sent, _ in flaky.requests}
        assert len(flaky.requests) == 2
        assert len(keys) == 1


def test_a_server_that_is_not_there_is_told_after_the_last_attempt(kind: str) -> None:
    with Flaky([]).serving() as flaky:
        pass
    sleeper = Sleeper()
    with pytest.raises(RemoteError) as raised:
        asked(flaky, sleeper, SURE, kind)
    assert raised.value.code == "server_unreachable"
    assert len(sleeper.slept) == 3
    assert flaky.url in str(raised.value)


def test_an_answer_that_takes_too_long_is_not_asked_for_again(place: Any) -> None:
    options = ClientOptions(timeout=1e-6)
    sleeper = Sleeper()
    with Client(place.url, place.key, options=options, sleep=sleeper) as client, pytest.raises(Expired) as raised:
        client.recognize(Path(__file__).parents[1] / "data" / "audio" / "jfk.flac")
    assert raised.value.code == "no_answer"
    assert sleeper.slept == []


@pytest.mark.parametrize("url", ["127.0.0.1:7860", "ftp://host", "http://", "", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    for client in (Client, emotape.AsyncClient):
        with pytest.raises(BadRequest) as raised:
            client(url)
        assert raised.value.code == "server_address"


@given(some.integers(1, 9), some.floats(0, 1), some.none() | some.floats(0, 200))
def test_waits_grow_to_a_bound_and_are_never_shorter_than_advised(
    failures: int, chance: float, advised: float | None
) -> None:
    retry = Retry(attempts=8, first=0.5, most=10.0, patience=100.0, chance=lambda: chance)
    wait = retry.wait(failures, advised)
    if failures >= 8 or (advised or 0) > 100:
        assert wait is None
        return
    assert wait is not None
    backoff = min(10.0, 0.5 * 2 ** (failures - 1))
    assert max(backoff / 2, advised or 0) <= wait <= max(backoff, advised or 0)


@pytest.mark.parametrize("error", [BadAudio, TooLong, ModelFault])
def test_every_error_that_can_be_told_of_a_recording_keeps_its_class(error: type[Exception]) -> None:
    """The codes that the package raises with a class are those that the client gives that class."""
    raised = {
        call.args[0].value
        for path in SOURCE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == error.__name__
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    known = set(KINDS[error].split())  # type: ignore[index]
    assert raised <= known
    for code in raised:
        assert isinstance(told({"code": code, "message": "m", "cause": "c", "cure": "r"}), error)


def test_a_servers_error_crosses_process_borders_whole() -> None:
    document = {"code": "overloaded", "message": "m", "cause": "c", "cure": "r", "request_id": "abc"}
    error: Any = told(document, 429, 5.0)
    copy: Any = pickle.loads(pickle.dumps(error))  # noqa: S301 - written the moment before
    assert type(copy) is type(error)
    assert (copy.code, copy.facts, copy.text(), str(copy)) == (error.code, error.facts, error.text(), str(error))


def test_importing_and_making_a_client_starts_nothing() -> None:
    import threading

    before = threading.active_count()
    with Client("http://127.0.0.1:1", options=ONCE):
        assert threading.active_count() == before

"""A thousand bad uploads and slow connections at once: good clients notice nothing, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest

from emotape.audio.limits import DecodeLimits
from emotape.delivery.api.connection import PromptProtocol
from emotape.delivery.api.service import ApiOptions, Service
from emotape.engine.control.release import return_memory
from emotape.recognizer import Recognizer, RecognizerOptions
from tests.api.conftest import SPEECH, ready, running
from tests.api.hostile import KINDS, LONGEST_BODY, LONGEST_SECONDS, Attack, attacks, bare, file, form, with_length

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ATTACKS = 1_000
AT_ONCE = 100
SLOW = 34  # of each kind
GOOD = 4
MEGABYTE = 1024**2
SLOW_STARTS = (b"", b"POST /v1/recognize HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ", with_length("250000") + b"x")


class BriskProtocol(PromptProtocol):
    """Connections as `emotape serve` has them, with a wait for the head of a request that a test has time for."""

    head_seconds = 2.0


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers by their names in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Target:
    """A server under attack, in this process, and the scores that it should give."""

    service: Service
    url: str
    scores: dict[str, float]

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        address = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def answer(self, request: bytes) -> Answer:
        async with self.connected() as (reader, writer):
            writer.write(request)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            return Answer(int(first.split()[1]), headers, json.loads(body))

    async def leave(self, request: bytes) -> None:
        async with self.connected() as (_, writer):
            writer.write(request)
            await writer.drain()
            writer.transport.abort()


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    limits = RecognizerOptions(decode=DecodeLimits(seconds=LONGEST_SECONDS))
    options = ApiOptions(body_bytes=LONGEST_BODY, json_bytes=LONGEST_BODY, body_seconds=3.0)
    with Recognizer(options=limits) as recognizer:
        service = ready(recognizer, options=options)
        scores = dict(recognizer.recognize(SPEECH).scores)
        with running(service, protocol=BriskProtocol) as url:
            yield Target(service, url, scores)


async def attack(target: Target, wave: Iterator[Attack]) -> None:
    """Send attacks, a hundred at once; each gets the error that it deserves."""

    async def some() -> None:
        for sent in wave:
            if sent.leaves:
                await target.leave(sent.request)
            else:
                _check(sent, await target.answer(sent.request))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())


def _check(sent: Attack, answer: Answer) -> None:
    assert answer.status in sent.statuses, (sent.name, answer)
    error = answer.body["error"]
    assert set(error) == {"code", "message", "cause", "cure", "request_id"}, (sent.name, error)
    assert error["request_id"] == answer.headers["x-request-id"]


async def keep_asking(target: Target, over: asyncio.Event) -> int:
    """Ask until the attack is over; every answer is right. Return how many there were."""
    answered = 0
    while not over.is_set():
        answer = await target.answer(bare(SPEECH.read_bytes()))
        assert answer.status == 200, answer
        assert answer.body["scores"] == pytest.approx(target.scores, abs=1e-4)
        answered += 1
    return answered


async def dribble(target: Target, start: bytes, over: asyncio.Event) -> int:
    """Send a request byte by byte, again and again, until the attack is over; return how often it was cut off."""
    cut = 0
    while not (over.is_set() and cut):
        async with target.connected() as (reader, writer):
            writer.write(start)
            said = await _until_cut(reader, writer if start else None)
            assert said == b"" or said.startswith(b"HTTP/1.1 408 ")
        cut += 1
    return cut


async def _until_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> bytes:
    with suppress(ConnectionError):
        while True:  # the test's own time limit ends this
            if writer is not None:
                writer.write(b"x")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    return await reader.read(65_536)
    return b""


async def besieged(target: Target) -> tuple[list[int], list[int]]:
    """Attack while good clients ask and slow ones dribble; return how often those were answered, and these cut off."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        good = [group.create_task(keep_asking(target, over)) for _ in range(GOOD)]
        slow = [group.create_task(dribble(target, start, over)) for start in SLOW_STARTS for _ in range(SLOW)]
        await attack(target, attacks(ATTACKS))
        over.set()
    return [task.result() for task in good], [task.result() for task in slow]


async def settled(target: Target, descriptors: int) -> None:
    """Wait until the server has noticed that everybody left; the test's own time limit ends this."""
    while psutil.Process().num_fds() > descriptors or target.service.readiness.under_way:
        await asyncio.sleep(0.01)


def held() -> int:
    """Return the resident bytes of this process, without what is only kept for later."""
    return_memory()
    resident: int = psutil.Process().memory_info().rss
    return resident


@pytest.mark.slow
def test_a_thousand_bad_uploads_and_slow_connections_do_not_hurt_good_ones(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Good answers stay right, bad ones are typed errors, slow ones are cut off; no descriptor, file, memory stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def siege() -> tuple[list[int], list[int], int]:
        nobody = psutil.Process().num_fds()
        await attack(target, attacks(3 * len(KINDS)))  # pools, caches and the heap have their size then
        await settled(target, nobody)
        before = held()
        good, slow = await besieged(target)
        await settled(target, nobody)
        return good, slow, held() - before

    with caplog.at_level(logging.WARNING, "emotape"):
        good, slow, growth = asyncio.run(siege())
    assert min(good) > 0
    assert min(slow) > 0
    assert growth < 32 * MEGABYTE  # what was sent is twice as much
    assert not list(tmp_path.iterdir())
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("emotape")]
    assert target.service.recognizer.waiting_seconds == 0
    assert asyncio.run(target.answer(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")).status == 200


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[name for name, _, _ in KINDS])
def test_each_kind_alone(target: Target, kind: int) -> None:
    """What the thousand are made of, one by one: the answer is an error of the caller, never a fault of ours."""
    asyncio.run(attack(target, islice(attacks(len(KINDS)), kind, kind + 1)))


def test_a_form_that_breaks_off_is_not_taken_for_a_shorter_one(target: Target) -> None:
    broken = form(file(SPEECH.read_bytes()), file(SPEECH.read_bytes()), end=b"")
    answer = asyncio.run(target.answer(broken))
    assert (answer.status, answer.body["error"]["code"]) == (422, "malformed_body")


def test_what_is_no_http_is_answered_in_the_one_shape(target: Target) -> None:
    answer = asyncio.run(target.answer(b"GET / HTTP/9.x\r\n\r\n"))
    assert (answer.status, answer.body["error"]["code"]) == (400, "malformed_body")
    assert answer.headers["connection"] == "close"

"""Limits that several servers share in a real Redis: the same answers as one server's own, also while Redis is away."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotape.delivery.api.keys import KeyRing
from emotape.delivery.api.quota import LOCAL, Caller, Quotas, open_limits
from emotape.delivery.api.shared_quota import RedisQuotas
from emotape.errors import BadRequest, Overloaded
from emotape.events import Event, QuotasDown, silent
from tests.api.conftest import SPEECH, ready, visiting
from tests.store.redis_server import RedisServer, needs_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.delivery.api.quota import Limits
    from emotape.recognizer import Recognizer

pytestmark = needs_redis
ANNA, BEN, CLEO = Caller("anna", requests=3), Caller("ben", 5, 60), Caller("cleo", audio_seconds=30)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(autouse=True)
def empty(redis: RedisServer) -> None:
    redis.client.flushall()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer than a server would, so that a busy machine is not taken for a silent Redis."""
    monkeypatch.setattr("emotape.delivery.api.shared_quota._PATIENCE", 30.0)
    monkeypatch.setattr("emotape.store.redis_line.SOCKET_SECONDS", 30.0)


def asked(limits: Limits, caller: Caller, *, audio_only: bool = False) -> tuple[str, float] | None:
    """Return the code and the wait of a refusal; None if there is none."""

    async def ask() -> None:
        waiting = limits.check_audio(caller) if audio_only else limits.admit(caller)
        if waiting is not None:
            await waiting

    try:
        asyncio.run(ask())
    except Overloaded as refused:
        return refused.code, refused.retry_after
    return None


def settled(limits: Limits) -> None:
    """Wait until what was charged is counted."""
    if isinstance(limits, RedisQuotas):
        limits._line.ask(lambda client: client.ping()).result(30)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.sampled_from([ANNA, BEN, CLEO, LOCAL])),
        st.tuples(st.just("check"), st.sampled_from([ANNA, BEN, CLEO, LOCAL])),
        st.tuples(st.floats(0, 90), st.sampled_from([ANNA, BEN, CLEO, LOCAL])),
        st.tuples(st.just("pass"), st.floats(0, 50)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_two_servers_at_one_redis_answer_as_one_server_does(
    redis: RedisServer, patient: None, steps: list[tuple[Any, Any]]
) -> None:
    """Whatever is asked and charged at either of them, and however time passes."""
    redis.client.flushall()
    clock = Clock()
    with closing(RedisQuotas(redis.url, clock=clock)) as one, closing(RedisQuotas(redis.url, clock=clock)) as other:
        alone = Quotas(clock)
        for turn, (what, detail) in enumerate(steps):
            shared = (one, other)[turn % 2]
            if what == "pass":
                clock.now += detail
            elif what in ("admit", "check"):
                found: Any = asked(shared, detail, audio_only=what == "check")
                expected = asked(alone, detail, audio_only=what == "check")
                assert found == (None if expected is None else (expected[0], pytest.approx(expected[1], abs=1e-6)))
            else:
                shared.charge(detail, what)
                settled(shared)
                alone.charge(detail, what)


def test_many_at_once_get_no_more_than_there_is(redis: RedisServer, patient: None) -> None:
    clock = Clock()
    limits = [RedisQuotas(redis.url, clock=clock) for _ in range(4)]
    admitted: list[bool] = []

    def ask(each: RedisQuotas) -> None:
        admitted.extend(asked(each, Caller("anna", requests=12)) is None for _ in range(10))

    threads = [threading.Thread(target=ask, args=(each,)) for each in limits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in limits:
        each.close()
    assert sum(admitted) == 12


def test_accounts_that_have_refilled_are_forgotten(redis: RedisServer, patient: None) -> None:
    """By Redis' own clock; and nobody without limits costs it anything."""
    with closing(RedisQuotas(redis.url)) as limits:
        assert asked(limits, LOCAL) is None
        assert redis.client.dbsize() == 0
        assert asked(limits, ANNA) is None
        (key,) = redis.client.keys()
        assert 10_000 < redis.client.pttl(key) <= 31_000


def test_a_redis_that_is_away_costs_callers_nothing_but_what_they_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each server counts for itself, from what it let through; it says so once, and that it is over."""
    clock, events = Clock(), list[Event]()
    with RedisServer(tmp_path) as server, closing(RedisQuotas(server.url, events.append, clock)) as limits:
        limits._breaker._clock = clock  # its pauses pass as the test says
        assert asked(limits, ANNA) is None
        with caplog.at_level(logging.WARNING, "emotape"):
            server.kill()
            assert [asked(limits, ANNA) for _ in range(3)][:2] == [None, None]
            refused = asked(limits, ANNA)
            assert refused is not None
            assert refused[0] == "too_many_requests"
            limits.charge(CLEO, 40)
            refused = asked(limits, CLEO)
            assert refused is not None
            assert (refused[0], round(refused[1])) == ("too_much_audio", 20)
            assert [type(event) for event in events] == [QuotasDown]
            server.start()
            clock.now += 60
            while asked(limits, ANNA) is not None or not server.client.keys():
                clock.now += 60
    said = [record.getMessage() for record in caplog.records]
    assert ["each server counts" in line for line in said] == [True, False]
    assert said[1] == "limits are counted in Redis again"


def test_a_redis_that_stalls_is_not_waited_for(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, closing(RedisQuotas(server.url, clock=Clock())) as limits:
        assert asked(limits, ANNA) is None
        server.signal(signal.SIGSTOP)
        try:
            assert [asked(limits, ANNA) for _ in range(2)] == [None, None]
            assert asked(limits, ANNA) is not None
        finally:
            server.signal(signal.SIGCONT)


def test_through_the_whole_service(redis: RedisServer, patient: None, recognizer: Recognizer, tmp_path: Path) -> None:
    """What one server answered counts at the other one; audio and requests are told apart."""
    ring = KeyRing(tmp_path / "keys.json")
    secret = ring.create("anna", audio_seconds=1)
    headers = {"authorization": f"Bearer {secret}"}
    with (
        closing(open_limits(redis.url, silent)) as one,
        closing(open_limits(redis.url, silent)) as other,
        visiting(ready(recognizer, keys=ring, quotas=one)) as first,
        visiting(ready(recognizer, keys=ring, quotas=other)) as second,
    ):
        assert first.post("/v1/recognize", files={"file": SPEECH.read_bytes()}, headers=headers).status_code == 200
        settled(one)
        refused = second.post("/v1/recognize", files={"file": SPEECH.read_bytes()}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_much_audio")
        assert int(refused.headers["retry-after"]) >= 1


def test_without_redis_each_server_counts_for_itself_and_a_wrong_address_is_refused() -> None:
    assert isinstance(open_limits(None, silent), Quotas)
    with pytest.raises(BadRequest) as refused:
        open_limits("http://nowhere", silent)
    assert refused.value.code == "bad_redis_url"

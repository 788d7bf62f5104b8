"""Redis as a cache: what it keeps is found, and whatever it does otherwise is a miss that holds nobody up."""

from __future__ import annotations

import signal
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.store.redis_server import RedisServer, free_port, needs_redis

from emotape.events import CacheDown, Event
from emotape.store.cache.entry import seal
from emotape.store.cache.redis import _LARGEST, _PREFIX, RedisCache
from emotape.store.redis_line import BACKLOG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = needs_redis
KEY, OTHER_KEY = "0f" * 32, "1f" * 32


class Hand:
    """A clock that somebody moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.client.flushall()
    return running


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for those who harm it."""
    with RedisServer(tmp_path) as server:
        yield server


@contextmanager
def opened(url: str, hours: float = 1.0) -> Iterator[tuple[RedisCache, Hand, list[Event]]]:
    hand, events = Hand(), list[Event]()
    cache = RedisCache(url, hours, events.append, hand)
    try:
        yield cache, hand, events
    finally:
        cache.close()


def keep(server: RedisServer, key: str, entry: bytes) -> None:
    """Put an entry by a cache of its own, which has written it when it is closed."""
    with opened(server.url) as (cache, _, _):
        cache.put(key, entry)


def test_what_one_process_keeps_another_finds_for_a_while(server: RedisServer) -> None:
    keep(server, KEY, b"entry")
    with opened(server.url) as (cache, _, events):
        assert cache.get(KEY) == b"entry"
        assert cache.get(OTHER_KEY) is None
        assert events == []
    assert 3_590_000 < server.client.pttl(_PREFIX + KEY) <= 3_600_000


def test_entries_go_when_their_time_is_over(server: RedisServer) -> None:
    with opened(server.url, hours=1 / 3_600_000) as (cache, _, _):  # a millisecond
        cache.put(KEY, b"entry")
    while server.client.exists(_PREFIX + KEY):
        pass
    with opened(server.url) as (cache, _, _):
        assert cache.get(KEY) is None


LIES: dict[str, Callable[[RedisServer, bytes], object]] = {
    "flushed": lambda server, _: server.client.flushall(),
    "garbled": lambda server, sealed: server.client.set(_PREFIX + KEY, sealed[:-1] + b"?"),
    "cut": lambda server, sealed: server.client.set(_PREFIX + KEY, sealed[:-1]),
    "empty": lambda server, _: server.client.set(_PREFIX + KEY, b""),
    "foreign": lambda server, _: server.client.set(_PREFIX + KEY, b'{"emotion": "happy"}'),
    "another key's": lambda server, _: server.client.set(_PREFIX + KEY, seal(OTHER_KEY, b"entry")),
    "a list": lambda server, _: (server.client.flushall(), server.client.lpush(_PREFIX + KEY, b"entry")),
    "not allowed": lambda server, _: server.client.acl_setuser("default", enabled=True, commands=["-get"]),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_not_what_was_kept_is_a_miss(server: RedisServer, lie: str) -> None:
    """Gone, damaged or somebody else's; and that is no reason to leave Redis alone."""
    keep(server, KEY, b"entry")
    LIES[lie](server, server.client.get(_PREFIX + KEY) or b"")  # type: ignore[arg-type]
    try:
        with opened(server.url) as (cache, _, events):
            assert [cache.get(KEY) for _ in range(5)] == [None] * 5
            assert events == []
    finally:
        server.allow_everything()


def test_a_full_redis_is_still_asked(server: RedisServer) -> None:
    """What it has no room for is not kept; what it has is found."""
    keep(server, KEY, b"entry")
    server.client.config_set("maxmemory", "1")
    try:
        with opened(server.url) as (cache, _, events):
            for _ in range(5):
                cache.put(OTHER_KEY, b"entry")
            assert cache.get(KEY) == b"entry"
        assert events == []
        assert not server.client.exists(_PREFIX + OTHER_KEY)
    finally:
        server.client.config_set("maxmemory", "0")


def test_redis_bounds_how_much_is_kept(server: RedisServer) -> None:
    """With the settings that the documentation advises, the latest results stay and the memory is bounded."""
    used = int(server.client.info("memory")["used_memory"])
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    server.client.config_set("maxmemory", used + 2_000_000)
    try:
        for number in range(10):
            keep(server, f"{number:064}", bytes(500_000))
        keep(server, KEY, b"the latest")
        assert 0 < server.client.dbsize() < 8
        with opened(server.url) as (cache, _, _):
            assert cache.get(KEY) == b"the latest"
    finally:
        server.client.config_set("maxmemory", "0")


def test_large_entries_stay_away_from_redis(server: RedisServer) -> None:
    keep(server, KEY, bytes(_LARGEST))
    keep(server, OTHER_KEY, bytes(_LARGEST + 1))
    with opened(server.url) as (cache, _, _):
        assert cache.get(KEY) == bytes(_LARGEST)
        assert cache.get(OTHER_KEY) is None


def test_a_stalled_redis_is_left_alone_until_it_goes_on(own_server: RedisServer) -> None:
    """Three times nobody answers; then nobody is asked, until a pause has passed and one try succeeds."""
    keep(own_server, KEY, b"entry")
    with opened(own_server.url) as (cache, hand, events):
        assert cache.get(KEY) == b"entry"
        own_server.signal(signal.SIGSTOP)
        assert [cache.get(KEY) for _ in range(50)] == [None] * 50
        (down,) = events
        assert isinstance(down, CacheDown)
        for _ in range(2 * BACKLOG):
            cache.put(OTHER_KEY, b"entry")
        own_server.signal(signal.SIGCONT)
        assert own_server.client.ping()
        assert cache.get(KEY) is None, "the pause is not over"
        hand.now += down.seconds
        assert cache.get(KEY) == b"entry"
        assert len(events) == 1


def test_a_restart_costs_what_was_kept_and_nothing_else(own_server: RedisServer) -> None:
    keep(own_server, KEY, b"entry")
    with opened(own_server.url) as (cache, hand, events):
        assert cache.get(KEY) == b"entry"
        own_server.kill()
        assert [cache.get(KEY) for _ in range(50)] == [None] * 50
        assert [type(event) for event in events] == [CacheDown]
        own_server.start()
        hand.now += 1
        assert cache.get(KEY) is None
        cache.put(KEY, b"again")
        keep(own_server, OTHER_KEY, b"entry")
        assert cache.get(OTHER_KEY) == b"entry"
    with opened(own_server.url) as (cache, _, _):
        assert cache.get(KEY) == b"again"


def test_a_quick_restart_between_two_questions_is_not_even_noticed(own_server: RedisServer) -> None:
    """One question may fail on the old connection; the next finds the new server."""
    with opened(own_server.url) as (cache, _, events):
        assert cache.get(KEY) is None
        own_server.kill()
        own_server.start()
        keep(own_server, KEY, b"entry")
        assert b"entry" in [cache.get(KEY) for _ in range(2)]
        assert events == []


class Speaker(socketserver.ThreadingTCPServer):
    """A server that says what it is told to, whatever it is asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: bytes, *, endless: bool) -> None:
        self.answer, self.endless = answer, endless
        self.gone = threading.Event()
        super().__init__(("127.0.0.1", 0), Listener)


class Listener(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Speaker)
        try:
            while self.request.recv(65_536):
                self.wfile.write(self.server.answer)
                while self.server.endless and not self.server.gone.wait(0.01):
                    self.wfile.write(b"x")
        except OSError:
            return  # the other end has had enough


@pytest.mark.parametrize(
    ("answer", "endless"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"$-5\r\n", False),
        (b"*1\r\n:5\r\n", False),
        (b":17\r\n", False),
        (b"$99999999999\r\n", True),  # a byte now and then, for years
    ],
)
def test_a_server_that_talks_nonsense_is_believed_nothing(answer: bytes, endless: bool) -> None:
    with Speaker(answer, endless=endless) as speaker:
        thread = threading.Thread(target=speaker.serve_forever, args=(0.01,))
        thread.start()
        try:
            with opened(f"redis://127.0.0.1:{speaker.server_address[1]}") as (cache, hand, _):
                for _ in range(8):
                    cache.put(KEY, b"entry")
                    assert cache.get(KEY) is None
                    hand.now += 60  # ask again
        finally:
            speaker.gone.set()
            speaker.shutdown()
            thread.join()


def test_nobody_there_is_nobody_asked() -> None:
    with opened(f"redis://127.0.0.1:{free_port()}") as (cache, _, events):
        for _ in range(100):
            cache.put(KEY, b"entry")
            assert cache.get(KEY) is None
        assert len(events) == 1


def test_after_closing_there_is_nothing_to_find(server: RedisServer) -> None:
    before = set(threading.enumerate())  # of other tests, whose servers stalled, some may still be leaving
    with opened(server.url) as (cache, _, _):
        cache.put(KEY, b"entry")
    cache.put(OTHER_KEY, b"entry")
    assert cache.get(KEY) is None
    assert server.client.get(_PREFIX + KEY) == seal(KEY, b"entry")
    cache.close()
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name.startswith("emotape-redis")]

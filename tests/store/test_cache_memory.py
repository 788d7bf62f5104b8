"""What the caches of this process forget, and when; the breaker before the one that is elsewhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotape.errors import BadRequest
from emotape.settings import cache_options, read_settings
from emotape.store.cache.breaker import Breaker
from emotape.store.cache.layered import LayeredCache
from emotape.store.cache.memory import MemoryCache
from emotape.store.cache.options import CacheOptions, open_cache
from emotape.store.cache.redis import RedisCache
from emotape.store.cache.result_cache import FakeCache


class Hand:
    """A clock that somebody moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=3_000)), max_size=60))
def test_memory_never_holds_more_than_it_may_and_nothing_but_what_was_put(puts: list[tuple[int, bytes]]) -> None:
    cache = MemoryCache(megabytes=0.02)
    latest: dict[str, bytes] = {}
    for number, entry in puts:
        cache.put(str(number), entry)
        if len(entry) + 600 <= 2_500:
            latest[str(number)] = entry
            assert cache.get(str(number)) == entry
        assert cache.bytes <= 20_000
    assert all(cache.get(key) in (None, entry) for key, entry in latest.items())


def test_what_nobody_asked_for_goes_first() -> None:
    cache = MemoryCache(megabytes=0.01)
    for number in range(20):
        cache.put(str(number), bytes(400))
        cache.get("0")
    kept = [number for number in range(20) if cache.get(str(number)) is not None]
    assert kept == [0, *range(20 - len(kept) + 1, 20)]
    assert 5 < len(kept) < 20


def test_any_room_at_all_is_a_cache_and_none_is_none() -> None:
    for megabytes, is_kept in ((0.5, True), (0.0, False)):
        with open_cache(CacheOptions(megabytes=megabytes)) as cache:
            assert (cache is not None) is is_kept


def test_an_entry_too_large_pushes_nothing_out() -> None:
    cache = MemoryCache(megabytes=0.01)
    cache.put("small", b"kept")
    cache.put("an eighth", bytes(650))  # and 600 that keeping takes
    cache.put("more", bytes(651))
    assert (cache.get("small"), cache.get("an eighth"), cache.get("more")) == (b"kept", bytes(650), None)


def test_entries_go_when_their_time_is_over() -> None:
    hand = Hand()
    cache = MemoryCache(hours=1.0, clock=hand)
    cache.put("key", b"entry")
    hand.now = 3_599.0
    assert cache.get("key") == b"entry"
    hand.now = 3_600.0
    assert cache.get("key") is None


def test_memory_stands_many_threads() -> None:
    """Nobody ever gets another key's entry."""
    cache = MemoryCache(megabytes=0.01)

    def use(number: int) -> bool:
        key = str(number % 20)
        cache.put(key, key.encode())
        return cache.get(key) in (None, key.encode())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(4_000)))


def test_layers_ask_far_only_when_near_does_not_know_and_remember_near() -> None:
    near, far = FakeCache(), FakeCache()
    layers = LayeredCache(near, far)
    layers.put("both", b"1")
    far.put("far", b"2")
    assert [layers.get(key) for key in ("both", "far", "far", "none")] == [b"1", b"2", b"2", None]
    assert far.asked == ["far", "none"]


def test_a_breaker_opens_after_three_failures_in_a_row_and_tries_again_after_longer_and_longer_pauses() -> None:
    hand = Hand()
    breaker = Breaker(hand)
    for _ in range(2):
        assert breaker.allows()
        assert breaker.failed() is None
    breaker.succeeded()
    pauses = [breaker.failed() for _ in range(3)]
    assert pauses == [None, None, 1.0]
    assert not breaker.allows()
    found = []
    for _ in range(6):
        hand.now += 30
        assert breaker.allows()
        assert not breaker.allows(), "one tries at a time"
        found.append(breaker.failed())
    assert found == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    hand.now += 30
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()
    assert breaker.failed() is None


def test_failures_that_were_under_way_make_no_pause_longer() -> None:
    hand = Hand()
    breaker = Breaker(hand)
    assert [breaker.failed() for _ in range(6)] == [None, None, 1.0, None, None, None]
    hand.now = 1.0
    assert breaker.allows()


def test_one_who_tries_and_never_reports_bars_nobody_for_ever() -> None:
    hand = Hand()
    breaker = Breaker(hand)
    for _ in range(3):
        breaker.failed()
    hand.now = 1.0
    assert breaker.allows()
    hand.now = 2.0
    assert breaker.allows()


def test_what_a_user_wants_is_what_is_opened() -> None:
    url = "redis://localhost:1/0"
    wishes: list[tuple[CacheOptions, type[object]]] = [
        (CacheOptions(megabytes=0), type(None)),
        (CacheOptions(), MemoryCache),
        (CacheOptions(redis_url=url), LayeredCache),
        (CacheOptions(megabytes=0, redis_url=url), RedisCache),
    ]
    for options, kind in wishes:
        with open_cache(options) as cache:
            assert type(cache) is kind
            if cache is not None:
                cache.put("key", b"entry")
        assert cache is None or cache.get("key") is None


def test_every_setting_of_the_cache_reaches_it() -> None:
    """A server keeps results in memory unless it is told otherwise; the library keeps none unless it is told to."""
    chosen = read_settings(cache_megabytes=1.0, cache_ttl_hours=2.0, redis_url="redis://localhost")
    assert cache_options(chosen) == CacheOptions(1.0, 2.0, "redis://localhost")
    assert 16 <= cache_options(read_settings()).megabytes <= 256  # as the machine has memory
    assert CacheOptions().megabytes > 0


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis://localhost:port", ""])
def test_an_address_that_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(BadRequest) as refusal, open_cache(CacheOptions(redis_url=url)):
        pass
    assert refusal.value.code == "bad_redis_url"

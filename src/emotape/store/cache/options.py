"""Which caches a user wants, and these caches."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotape.events import Observer, silent
from emotape.store.cache.layered import LayeredCache
from emotape.store.cache.memory import MemoryCache
from emotape.store.cache.redis import RedisCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.store.cache.result_cache import ResultCache


@dataclass(frozen=True)
class CacheOptions:
    """How much to keep in memory (10^6 bytes; 0: nothing), for how many hours, and in which Redis beside it."""

    megabytes: float = 64.0
    hours: float = 24.0
    redis_url: str | None = None


@contextmanager
def open_cache(options: CacheOptions, observer: Observer = silent) -> Iterator[ResultCache | None]:
    """Give the cache to hand to a recognizer, None if nothing is to be kept, and close it afterwards.

    Connects to nothing yet. Raises BadRequest ("bad_redis_url", "redis_not_installed").
    """
    cache = _cache(options, observer)
    try:
        yield cache
    finally:
        if cache is not None:
            cache.close()


def _cache(options: CacheOptions, observer: Observer) -> ResultCache | None:
    memory = MemoryCache(options.megabytes, options.hours) if options.megabytes > 0 else None
    if options.redis_url is None:
        return memory
    shared = RedisCache(options.redis_url, options.hours, observer)
    return shared if memory is None else LayeredCache(memory, shared)

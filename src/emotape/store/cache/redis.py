"""Entries in Redis, for several processes. Redis may stall, restart, be full or lie: then there is no answer from it.

One thread reads and one writes, each with a connection of its own, so that nobody who waits for a result waits for
Redis longer than `_PATIENCE`, whatever it does. What it returns is checked before it is believed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from emotape.events import CacheDown, Observer, silent, tell
from emotape.store.cache.breaker import Breaker
from emotape.store.cache.entry import seal, unseal
from emotape.store.redis_line import RedisLine, redis_client

if TYPE_CHECKING:
    from collections.abc import Callable

_PREFIX: Final = "emotape:result:"
_PATIENCE: Final = 0.1  # seconds for a whole answer
_LARGEST: Final = 2_000_000  # bytes of an entry, 16 ms on a gigabit line; more would hold up what waits behind it


class RedisCache:
    """Keeps entries of up to 2 MB in the Redis at `url`, for `hours` each; how much in all is for Redis to bound.

    After three failures in a row Redis is left alone for a second, then for longer and longer, up to 30 s. Nothing is
    connected before the first use. Raises BadRequest ("bad_redis_url", "redis_not_installed").
    """

    def __init__(
        self, url: str, hours: float = 24.0, observer: Observer = silent, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._milliseconds = max(1, int(3_600_000 * hours))
        self._observer = observer
        self._breaker = Breaker(clock)
        self._reading = RedisLine(redis_client(url), "emotape-redis-read")
        self._writing = RedisLine(redis_client(url), "emotape-redis-write")

    def get(self, key: str) -> bytes | None:
        """Return the entry under `key`; None as well when Redis does not answer soon, or with something else."""
        if not self._breaker.allows():
            return None
        try:
            sealed = self._reading.ask(lambda client: self._tried(client.get, _PREFIX + key)).result(_PATIENCE)
        except TimeoutError:
            self._failed(TimeoutError(f"no answer within {_PATIENCE} s"))
            self._reading.cut()
            return None
        return unseal(key, sealed) if isinstance(sealed, bytes) else None

    def put(self, key: str, entry: bytes) -> None:
        """Have an entry written soon, unless it is large or too many are waiting."""
        if len(entry) <= _LARGEST and self._breaker.allows():
            name, milliseconds = _PREFIX + key, self._milliseconds
            self._writing.ask(lambda client: self._tried(client.set, name, seal(key, entry), px=milliseconds))

    def close(self) -> None:
        """Write what waits to be written, as far as a second allows, and end the connections."""
        self._writing.close()
        self._reading.close()

    def _tried(self, command: Callable[..., object], *arguments: object, **options: object) -> object:
        """Return what a command gives, None if it fails; what Redis refuses (it is full, say) is no failure."""
        from redis.exceptions import ResponseError

        try:
            found = command(*arguments, **options)
        except ResponseError:
            found = None
        except Exception as error:  # noqa: BLE001 - a connection that another thread cuts fails in any way
            self._failed(error)
            return None
        self._breaker.succeeded()
        return found

    def _failed(self, error: Exception) -> None:
        pause = self._breaker.failed()
        if pause is not None:
            tell(self._observer, CacheDown(f"{type(error).__name__}: {error}", pause))

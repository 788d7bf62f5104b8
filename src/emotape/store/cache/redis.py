"""Entries in Redis, for several processes. Redis may stall, restart, be full or lie: then there is no answer from it.

One thread reads and one writes, each with a connection of its own, so that nobody who waits for a result waits for
Redis longer than `_PATIENCE`, whatever it does. What it returns is checked before it is believed.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from queue import Full, Queue
from typing import TYPE_CHECKING, Final

from emotape.errors import BadRequest
from emotape.events import CacheDown, Observer, silent, tell
from emotape.store.cache.breaker import Breaker
from emotape.store.cache.entry import seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

_PREFIX: Final = "emotape:result:"
_SOCKET_SECONDS: Final = 0.05  # for a connection, and for each piece of an answer
_PATIENCE: Final = 0.1  # seconds for a whole answer
_LARGEST: Final = 2_000_000  # bytes of an entry, 16 ms on a gigabit line; more would hold up what waits behind it
_BACKLOG: Final = 64  # entries that wait to be written; more are not kept
_FAREWELL_SECONDS: Final = 1.0


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
        self._reading = _Line(_client(url), "emotape-redis-read")
        self._writing = _Line(_client(url), "emotape-redis-write")

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


class _Line:
    """One connection and one thread that speaks on it; both begin with the first question."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._name = name
        self._questions: Queue[Callable[[], None] | None] = Queue(_BACKLOG)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, question: Callable[[Redis], object]) -> Future[object]:
        """Return what `question(client)` will give; None at once when too much is waiting, or after `close`."""
        answer: Future[object] = Future()
        try:
            self._start()
            self._questions.put_nowait(lambda: answer.set_result(question(self._client)))
        except (Full, _Closed):
            answer.set_result(None)
        return answer

    def cut(self) -> None:
        """Close the connection under the thread's feet, so that it stops waiting; the next question makes a new one."""
        with suppress(Exception):  # whatever state the connection is in, it is given up
            self._client.connection_pool.disconnect(inuse_connections=True)

    def close(self) -> None:
        """Ask what waits to be asked, as far as a second allows."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            with suppress(Full):
                self._questions.put(None, timeout=_FAREWELL_SECONDS)
            thread.join(_FAREWELL_SECONDS)
        self.cut()

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                raise _Closed
            if self._thread is None:
                self._thread = threading.Thread(target=self._speak, name=self._name, daemon=True)
                self._thread.start()

    def _speak(self) -> None:
        while (question := self._questions.get()) is not None:
            question()


class _Closed(Exception):
    """There are no more questions."""


def _client(url: str) -> Redis:
    """Return a client that tries once and soon gives up. It connects when it is first used."""
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise BadRequest("redis_not_installed") from error
    try:
        return Redis.from_url(
            url,
            socket_timeout=_SOCKET_SECONDS,
            socket_connect_timeout=_SOCKET_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # neither greeting nor announcements: one question, one answer
            driver_info=None,
            client_name="emotape",
        )
    except (ValueError, TypeError) as error:
        raise BadRequest("bad_redis_url", reason=str(error)) from error

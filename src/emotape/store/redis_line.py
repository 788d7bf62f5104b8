"""Speaking with Redis in a thread of its own, so that nobody waits for it longer than he wants to."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from queue import Full, Queue
from typing import TYPE_CHECKING, Final

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

SOCKET_SECONDS: Final = 0.05
"""For a connection, and for each piece of an answer."""
BACKLOG: Final = 64
"""Questions that wait; more are not asked."""
_FAREWELL_SECONDS: Final = 1.0


class RedisLine:
    """One connection and one thread that speaks on it; both begin with the first question."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._name = name
        self._questions: Queue[Callable[[], None] | None] = Queue(BACKLOG)
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


def redis_client(url: str) -> Redis:
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
            socket_timeout=SOCKET_SECONDS,
            socket_connect_timeout=SOCKET_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # neither greeting nor announcements: one question, one answer
            driver_info=None,
            client_name="emotape",
        )
    except (ValueError, TypeError) as error:
        raise BadRequest("bad_redis_url", reason=str(error)) from error

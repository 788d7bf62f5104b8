"""How much each caller may use: requests and seconds of audio a minute."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from emotape.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emotape.events import Observer

REQUESTS: Final = "too_many_requests"
AUDIO: Final = "too_much_audio"


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of the API key, or "local" where no key is needed. Limits are a minute's; None: none."""

    id: str
    requests: float | None = None
    audio_seconds: float | None = None


LOCAL = Caller("local")


class Limits(Protocol):
    """Counts what callers use. What is returned is to be awaited: where others are asked, only that may raise."""

    def admit(self, caller: Caller) -> Awaitable[None] | None:
        """Count one request. Raises Overloaded ("too_many_requests", "too_much_audio")."""
        ...

    def check_audio(self, caller: Caller) -> Awaitable[None] | None:
        """Raise Overloaded ("too_much_audio") when nothing of a minute's audio is left."""
        ...

    def charge(self, caller: Caller, audio_seconds: float) -> None:
        """Count the audio that was answered; any thread may, and never waits."""
        ...

    def close(self) -> None:
        """Let go of what it needs."""
        ...


def open_limits(redis_url: str | None, observer: Observer) -> Limits:
    """Return what counts: for all servers at one Redis, or for this one alone.

    Connects to nothing yet. Raises BadRequest ("bad_redis_url", "redis_not_installed").
    """
    if redis_url is None:
        return Quotas()
    from emotape.delivery.api.shared_quota import RedisQuotas

    return RedisQuotas(redis_url, observer)


class Quotas:
    """One account for each caller and limit, which refills steadily up to a minute's worth.

    A recording's seconds are known only when it is decoded: its request is admitted while anything is left, and the
    account may fall below nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[tuple[str, str], _Account] = {}

    def admit(self, caller: Caller) -> None:
        """Count one request. Raises Overloaded ("too_many_requests", "too_much_audio")."""
        with self._lock:
            self._check(caller, AUDIO, caller.audio_seconds, 0.0)
            self._check(caller, REQUESTS, caller.requests, 1.0)
            self._take(caller, REQUESTS, caller.requests, 1.0)

    def count(self, caller: Caller) -> None:
        """Count one request that somebody else admitted."""
        with self._lock:
            self._take(caller, REQUESTS, caller.requests, 1.0)

    def check_audio(self, caller: Caller) -> None:
        """Raise Overloaded ("too_much_audio") when nothing of a minute's audio is left."""
        with self._lock:
            self._check(caller, AUDIO, caller.audio_seconds, 0.0)

    def charge(self, caller: Caller, audio_seconds: float) -> None:
        """Count the audio that was answered."""
        with self._lock:
            self._take(caller, AUDIO, caller.audio_seconds, audio_seconds)

    def close(self) -> None:
        """Do nothing."""

    def _check(self, caller: Caller, code: str, limit: float | None, needed: float) -> None:
        if limit is None:
            return
        missing = needed - self._account(caller, code, limit).left
        if missing > 0:
            raise Overloaded(code, retry_after=60 * missing / limit, limit=limit)

    def _take(self, caller: Caller, code: str, limit: float | None, amount: float) -> None:
        if limit is not None:
            self._account(caller, code, limit).left -= amount

    def _account(self, caller: Caller, code: str, limit: float) -> _Account:
        now = self._clock()
        account = self._accounts.setdefault((caller.id, code), _Account(limit, now))
        account.left = min(limit, account.left + limit * (now - account.at) / 60)
        account.at = now
        return account


@dataclass
class _Account:
    left: float
    at: float

"""Callers' limits that several servers share, counted in Redis.

While Redis is away each server counts for itself, from what it has let through so far: callers are served, and may use
up to their limits at every server. One script reads, decides and counts, by Redis' own clock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.api.quota import AUDIO, REQUESTS, Quotas
from emotape.errors import Overloaded
from emotape.events import Observer, QuotasDown, silent, tell
from emotape.store.cache.breaker import Breaker
from emotape.store.redis_line import RedisLine, redis_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis import Redis

    from emotape.delivery.api.quota import Caller

log = logging.getLogger("emotape")

_Account = tuple[str, float, float, float]  # its name, the limit, what must be left, what is taken
_ANYTHING: Final = 1e300
_PREFIX: Final = "emotape:quota:"
_PATIENCE: Final = 0.1  # seconds for an answer
_SCRIPT: Final = """
local now = tonumber(ARGV[1])
if now < 0 then
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1000000
end
local left = {}
for index, key in ipairs(KEYS) do
    local limit, needed = tonumber(ARGV[3 * index - 1]), tonumber(ARGV[3 * index])
    local account = redis.call('HMGET', key, 'left', 'at')
    left[index] = limit
    if account[1] then
        local passed = math.max(0, now - tonumber(account[2]))
        left[index] = math.min(limit, tonumber(account[1]) + limit * passed / 60)
    end
    if needed > left[index] then
        return {index, string.format('%.17g', needed - left[index])}
    end
end
for index, key in ipairs(KEYS) do
    local limit, taken = tonumber(ARGV[3 * index - 1]), tonumber(ARGV[3 * index + 1])
    if taken > 0 then
        local rest = left[index] - taken
        redis.call('HSET', key, 'left', string.format('%.17g', rest), 'at', string.format('%.17g', now))
        redis.call('PEXPIRE', key, math.ceil(60000 * (limit - rest) / limit) + 1000)
    end
end
return {0, '0'}
"""
"""Of each account: limit, what must be left, what is taken. All is taken or nothing; what has refilled is forgotten."""


class RedisQuotas:
    """The same as `Quotas`, for all servers at one Redis. Raises BadRequest "bad_redis_url", "redis_not_installed".

    `admit` and `check_audio` return what to wait for where there is a limit; any thread may call `charge`. Nothing is
    connected before the first use. A `clock` is for tests: all servers must have the same one.
    """

    def __init__(self, url: str, observer: Observer = silent, clock: Callable[[], float] | None = None) -> None:
        self._line = RedisLine(redis_client(url), "emotape-redis-quota")
        self._observer = observer
        self._clock = clock
        self._breaker = Breaker()
        self._own = Quotas(clock or time.monotonic)
        self._is_told = False

    def admit(self, caller: Caller) -> Awaitable[None] | None:
        """Count one request. Raises Overloaded ("too_many_requests", "too_much_audio") when it is awaited."""
        if caller.requests is None and caller.audio_seconds is None:
            return None
        return self._admitted(caller, 1.0)

    def check_audio(self, caller: Caller) -> Awaitable[None] | None:
        """Raise Overloaded ("too_much_audio") when it is awaited and nothing of a minute's audio is left."""
        return None if caller.audio_seconds is None else self._admitted(caller, 0.0)

    def charge(self, caller: Caller, audio_seconds: float) -> None:
        """Count the audio that was answered; waits for nothing."""
        self._own.charge(caller, audio_seconds)
        if caller.audio_seconds is not None and audio_seconds > 0 and self._breaker.allows():
            account = (_name(caller, AUDIO), caller.audio_seconds, -_ANYTHING, audio_seconds)
            self._line.ask(lambda client: self._tried(client, (account,)))

    def close(self) -> None:
        """Count what is still to be counted, as far as a second allows, and end the connection."""
        self._line.close()

    async def _admitted(self, caller: Caller, requests: float) -> None:
        accounts = []
        if caller.audio_seconds is not None:
            accounts.append((_name(caller, AUDIO), caller.audio_seconds, 0.0, 0.0))
        if caller.requests is not None and requests:
            accounts.append((_name(caller, REQUESTS), caller.requests, requests, requests))
        verdict = await self._asked(tuple(accounts)) if self._breaker.allows() else None
        if verdict is None:
            (self._own.admit if requests else self._own.check_audio)(caller)
            return
        refused, missing = verdict
        if refused:
            name, limit, *_ = accounts[refused - 1]
            raise Overloaded(name.rpartition(":")[2], retry_after=60 * missing / limit, limit=limit)
        if requests:
            self._own.count(caller)

    async def _asked(self, accounts: tuple[_Account, ...]) -> tuple[int, float] | None:
        """Return which account refuses (0: none) and what it lacks; None when Redis does not say so soon."""
        future = self._line.ask(lambda client: self._tried(client, accounts))
        try:
            found: Any = await asyncio.wait_for(asyncio.wrap_future(future), _PATIENCE)
        except TimeoutError:
            self._failed(TimeoutError(f"no answer within {_PATIENCE} s"))
            self._line.cut()
            return None
        return found if isinstance(found, tuple) else None

    def _tried(self, client: Redis, accounts: tuple[_Account, ...]) -> tuple[int, float] | None:
        now = -1.0 if self._clock is None else self._clock()
        numbers = [repr(number) for _, *numbers in accounts for number in numbers]
        try:
            refused, missing = client.eval(
                _SCRIPT, len(accounts), *(name for name, *_ in accounts), repr(now), *numbers
            )
            verdict = int(refused), float(missing)
        except Exception as error:  # noqa: BLE001 - a connection that another thread cuts fails in any way
            self._failed(error)
            return None
        self._breaker.succeeded()
        if self._is_told:
            self._is_told = False
            log.warning("limits are counted in Redis again")
        return verdict

    def _failed(self, error: Exception) -> None:
        pause = self._breaker.failed()
        if pause is None:
            return
        reason = f"{type(error).__name__}: {error}"
        tell(self._observer, QuotasDown(reason, pause))
        if not self._is_told:
            self._is_told = True
            log.warning("Redis does not answer (%s): each server counts limits for itself meanwhile", reason)


def _name(caller: Caller, code: str) -> str:
    """Return the name of an account; those of one caller lie on one node of a cluster."""
    return f"{_PREFIX}{{{caller.id}}}:{code}"

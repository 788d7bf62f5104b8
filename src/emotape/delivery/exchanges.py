"""Every HTTP exchange and WebSocket, timed: what metrics count and logs tell."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.api.errors import ERROR_CODE
from emotape.delivery.api.guard import REQUEST_ID
from emotape.events import Event, Settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "unmatched"
_ABORTED: Final = 499  # nobody is there to read the answer
_FAILED: Final = 500
_SWITCHED: Final = 101


@dataclass
class Tally:
    """What the recognizer answered in the course of one exchange: recordings, their seconds, the last error's code."""

    recordings: int = 0
    audio_seconds: float = 0.0
    code: str | None = None


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, without anything of their content.

    `route` is a template such as `/v1/jobs/{job}`, never an address that somebody chose; `seconds` passed until the
    answer began (of a WebSocket: until it was closed). `code` is that of an error of ours.
    """

    id: str
    method: str
    route: str
    status: int
    seconds: float
    recordings: int = 0
    audio_seconds: float = 0.0
    code: str | None = None


_TALLY: ContextVar[Tally | None] = ContextVar("emotape_tally", default=None)


def tally(event: Event, /) -> None:
    """Note what was answered in the course of an exchange; an `Observer`."""
    if isinstance(event, Settled) and (current := _TALLY.get()) is not None:
        current.recordings += 1
        current.audio_seconds += event.audio_seconds
        current.code = event.code or current.code


class Exchanges:
    """ASGI middleware around everything, the guard included; tells each of `listeners` of each exchange."""

    def __init__(self, app: ASGIApp, listeners: Sequence[Callable[[Exchange], None]]) -> None:
        self._app = app
        self._listeners = tuple(listeners)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Time one exchange."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        timing = _Timing(scope, send)
        token = _TALLY.set(timing.tally)
        try:
            await self._app(scope, receive, timing.send)
        except Exception:
            timing.fail()
            raise
        finally:
            _TALLY.reset(token)
            exchange = timing.exchange()
            for listener in self._listeners:
                listener(exchange)


class _Timing:
    """Watches the way back."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = time.perf_counter()
        self._status = 0
        self._seconds: float | None = None
        self.tally = Tally()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._status = message["status"]
            self._seconds = time.perf_counter() - self._started
        elif kind == "websocket.accept":
            self._status = _SWITCHED
        await self._send(message)

    def fail(self) -> None:
        self._status = self._status or _FAILED

    def exchange(self) -> Exchange:
        now = time.perf_counter() - self._started
        return Exchange(
            id=self._scope.get(REQUEST_ID, ""),
            method=method_of(self._scope),
            route=route_of(self._scope),
            status=self._status or _ABORTED,
            seconds=now if self._seconds is None else self._seconds,
            recordings=self.tally.recordings,
            audio_seconds=self.tally.audio_seconds,
            code=self._scope.get(ERROR_CODE, self.tally.code),
        )


def method_of(scope: Scope) -> str:
    """Return the method, of which there are few."""
    if scope["type"] == "websocket":
        return "WEBSOCKET"
    return scope["method"] if scope["method"] in _METHODS else "OTHER"


def route_of(scope: Scope) -> str:
    """Return the template of the route that was taken, of which there are few; "unmatched" where there was none."""
    mount = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str):
        return f"{mount}{path}"
    return f"{mount}/*" if mount else UNMATCHED

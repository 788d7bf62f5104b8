"""A request's body as it comes in: never larger than allowed, never slower than a poor connection."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers

from emotape.errors import BadRequest, TooLong

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

    from emotape.delivery.api.service import ApiOptions

SLOWEST: Final = 16_000  # bytes a second
LINGER_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.2  # nobody is sending any more
LINGER_BYTES: Final = 64 * 1024**2


class Body:
    """Counts and times the body of one request.

    `ended` is true once there is nothing more to come; `broken_off`, when the client left before that.
    """

    def __init__(self, scope: Scope, receive: Receive, options: ApiOptions) -> None:
        self._receive = receive
        self._options = options
        self._started = time.monotonic()
        self._received = 0
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        self._declared = int(declared) if declared.isdecimal() else 0
        self.ended = scope["type"] != "http" or not (self._declared or "transfer-encoding" in headers)
        self.broken_off = False

    def check_declared(self) -> None:
        """Raise TooLong ("body_too_large") when the body says itself that it is."""
        self._check(self._declared)

    async def receive(self) -> Message:
        """Return the next part. Raises TooLong ("body_too_large") and BadRequest ("body_too_slow")."""
        if self.ended:
            return await self._receive()
        message = await self._in_time()
        self._note(message)
        self._check(self._received)
        return message

    async def heard(self) -> Message:
        """Return the next part, however large and slow the body may be."""
        message = await self._receive()
        self._note(message)
        return message

    async def _in_time(self) -> Message:
        if (patience := self._patience()) <= 0:  # even if the next part is there already
            raise BadRequest("body_too_slow", received=self._received)
        try:
            async with asyncio.timeout(patience):
                return await self._receive()
        except TimeoutError as error:
            raise BadRequest("body_too_slow", received=self._received) from error

    async def discard(self) -> None:
        """Take in what is left, but only a little while."""
        room = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self.ended and room > 0:
                    message = await asyncio.wait_for(self._receive(), PAUSE_SECONDS)
                    self._note(message)
                    room -= len(message.get("body", b""))
        except TimeoutError:
            return

    def _patience(self) -> float:
        """Return how many seconds the next part may take."""
        allowed = self._options.body_seconds
        return max(0.0, min(allowed, self._started + allowed + self._received / SLOWEST - time.monotonic()))

    def _note(self, message: Message) -> None:
        self._received += len(message.get("body", b""))
        self.broken_off = self.broken_off or (message["type"] == "http.disconnect" and not self.ended)
        self.ended = message["type"] == "http.disconnect" or not message.get("more_body", False)

    def _check(self, count: int) -> None:
        if count > self._options.body_bytes:
            raise TooLong("body_too_large", limit=self._options.body_bytes)

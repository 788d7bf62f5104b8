"""A connection that does not wait for ever for the head of a request."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from emotape.delivery.api.errors import error_document
from emotape.errors import BadRequest

if TYPE_CHECKING:
    import asyncio

HEAD_SECONDS: Final = 15.0
IDLE_SECONDS: Final = 75
"""How long a connection stays open after an answer: longer than clients and proxies keep theirs, so that it is them who
close it. One that the server closes just when the next request comes has that request lost."""


class PromptProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which closes a connection whose request line and headers take longer than `HEAD_SECONDS`.

    uvicorn itself closes idle connections after a request (`IDLE_SECONDS`); before the first, and when the head of a
    request comes in drops, it would wait as long as the client likes. What is no HTTP is answered in the one shape of
    errors.
    """

    head_seconds = HEAD_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self._finished: Any = None  # the request that was last seen, complete or not
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watching.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with a request that no application sees, unless another answer has begun; then close."""
        with suppress(h11.LocalProtocolError):
            for event in _refusal(BadRequest("malformed_body", reason=msg.rstrip("."))):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        self._watching = self.loop.call_later(self.head_seconds, self._look)

    def _look(self) -> None:
        """Close the connection if it has waited for the same head since the last look."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # gone, or a WebSocket by now
        rests = self._finished is not None and not self.conn.trailing_data[0]  # after an answer, and nothing has come
        if not rests and self.conn.their_state is h11.IDLE and self.cycle is self._finished:
            self.transport.close()
            return
        self._finished = self.cycle
        self._watch()


def _refusal(error: BadRequest) -> tuple[h11.Event, ...]:
    """Return an answer in English, for a request that cannot be read names no language."""
    name = uuid.uuid4().hex
    body = json.dumps(error_document(error, "en", name)).encode()
    headers = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("x-request-id", name),
        ("connection", "close"),
    ]
    return h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()

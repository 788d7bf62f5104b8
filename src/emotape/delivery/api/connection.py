"""A connection that does not wait for ever for the head of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

HEAD_SECONDS: Final = 15.0


class PromptProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which closes a connection whose request line and headers take longer than `HEAD_SECONDS`.

    uvicorn itself closes idle connections after a request; before the first, and when the head of a request comes in
    drops, it would wait as long as the client likes.
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

    def _watch(self) -> None:
        self._watching = self.loop.call_later(self.head_seconds, self._look)

    def _look(self) -> None:
        """Close the connection if it has waited for the same head since the last look."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return  # gone, or a WebSocket by now
        if self.conn.their_state is h11.IDLE and self.cycle is self._finished:
            self.transport.close()
            return
        self._finished = self.cycle
        self._watch()

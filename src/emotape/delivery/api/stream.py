"""WS /v1/stream: sound comes in as it is spoken, and a rolling result goes out.

The client sends a JSON message `start` with options, binary messages with sound, and `{"type": "end"}`; the server
sends `ready`, a `result` for every window, an `error` where there is one, and a `final`. Every result is what an upload
of the same window would be answered with.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from emotape.delivery.api.errors import bad_option, error_document
from emotape.delivery.api.guard import PROTOCOL, request_id
from emotape.delivery.api.language import language_of
from emotape.delivery.api.stream_options import StreamBounds, StreamStart
from emotape.delivery.api.stream_session import Session, Terms
from emotape.delivery.api.subset import chosen
from emotape.errors import BadRequest, CallerError, EmotapeError, Overloaded, Refused

if TYPE_CHECKING:
    from emotape.delivery.api.service import Service
    from emotape.wording import Language

_RETRY_SECONDS: Final = 5.0
_START_SECONDS: Final = 10.0
_LONGEST_START: Final = 16_384  # characters; whoever lists what is wrong with many keys holds up everybody
_CLOSES: Final[dict[type[EmotapeError], int]] = {CallerError: 1008, Refused: 1013}


def router(service: Service, bounds: StreamBounds | None = None) -> APIRouter:
    """Return the route of streams."""
    routes = APIRouter(prefix="/v1", tags=["stream"])
    door = _Door(service, bounds or StreamBounds())

    @routes.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        await door.serve(socket)

    return routes


class _Door:
    """Lets streams in, one by one, as long as there is room."""

    def __init__(self, service: Service, bounds: StreamBounds) -> None:
        self._service = service
        self._bounds = bounds
        self._open = 0

    async def serve(self, socket: WebSocket) -> None:
        """Serve one stream from its first message to its last."""
        if self._open >= self._bounds.sessions:
            raise Overloaded("too_many_streams", retry_after=_RETRY_SECONDS, limit=self._bounds.sessions)
        self._open += 1
        try:
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
            await self._talk(socket)
        except WebSocketDisconnect:
            return
        finally:
            self._open -= 1

    async def _talk(self, socket: WebSocket) -> None:
        try:
            asked = await self._asked(socket)
            terms = await asyncio.to_thread(self._terms, socket, asked)
        except EmotapeError as error:
            document = error_document(error, language_of(socket), request_id(socket))
            await socket.send_json({"type": "error", **document})
            await socket.close(_close_code(error))
            return
        await socket.send_json(_welcome(asked, terms, request_id(socket)))
        ended = await Session(self._service, socket, asked, terms, self._bounds).run()
        if ended is not None:
            await socket.close(1012 if ended == "draining" else 1000)

    async def _asked(self, socket: WebSocket) -> StreamStart:
        """Return the first message. Raises BadRequest ("stream_start", "bad_option")."""
        try:
            message = await asyncio.wait_for(socket.receive(), _START_SECONDS)
        except TimeoutError as error:
            raise BadRequest("stream_start") from error
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        try:
            text = message.get("text") or "null"
            given = json.loads(text) if len(text) <= _LONGEST_START else None
        except (ValueError, RecursionError) as error:
            raise BadRequest("malformed_body", reason=str(error)) from error
        if not isinstance(given, dict) or given.get("type") != "start":
            raise BadRequest("stream_start")
        try:
            return StreamStart.model_validate(given)
        except ValidationError as error:
            raise bad_option(error.errors()[0]) from error

    def _terms(self, socket: WebSocket, asked: StreamStart) -> Terms:
        recognizer = self._service.recognizer
        language: Language = asked.language or language_of(socket)
        keys = chosen(asked.labels, recognizer.labels) if asked.labels else ()
        longest = recognizer.options.window.longest
        if asked.window > longest:
            raise BadRequest("bad_option", name="window", reason=f"this server's windows hold {longest:g} seconds")
        return Terms(language, keys, min(self._bounds.session_seconds, recognizer.options.decode.seconds))


def _welcome(asked: StreamStart, terms: Terms, name: str) -> dict[str, Any]:
    return {
        "type": "ready",
        "window": asked.window,
        "hop": asked.hop,
        "session_seconds": terms.seconds,
        "request_id": name,
    }


def _close_code(error: EmotapeError) -> int:
    return next((code for kind, code in _CLOSES.items() if isinstance(error, kind)), 1011)

"""A stream to a server: chunks of sound go out, results come in, both at once."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from emotape.client.answers import prediction_of
from emotape.client.connection import is_this_machine, require
from emotape.client.errors import RemoteError, told
from emotape.client.retry import advised_wait

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import InvalidStatus

    from emotape.engine.result import Prediction
    from emotape.errors import EmotapeError

_CHUNK: Final = 65_536  # bytes of a message
_PASSED_ON: Final = ("authorization", "accept-language", "user-agent")


@dataclass(frozen=True)
class StreamOptions:
    """How sound is sent, and what is asked of it.

    format       "encoded" (WebM, Ogg, MP3, FLAC, WAV …), or samples: "s16le" or "f32le", interleaved
    rate         Hz, and `channels`: of samples
    window       seconds that one result is about, every `hop` seconds
    late         when results lag: "skip" windows, as for a microphone, or "wait", as for a file
    granularity  "utterance" or "frame"
    labels       to score alone; none: all
    """

    format: Literal["encoded", "s16le", "f32le"] = "encoded"
    rate: int = 16_000
    channels: int = 1
    window: float = 4.0
    hop: float = 1.0
    late: Literal["skip", "wait"] = "skip"
    granularity: Literal["utterance", "frame"] = "utterance"
    embedding: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StreamResult:
    """The window from `start` to `stop` seconds: its prediction, or its error; `skipped` windows before it are lost."""

    start: float
    stop: float
    skipped: int
    prediction: Prediction | None = None
    error: EmotapeError | None = None


@dataclass(frozen=True)
class StreamSummary:
    """The whole stream: the windows' scores weighted by seconds of speech.

    `ended` says why it ended: "end", "idle", "limit" (of the server) or "draining" (the server stops). `windows` were
    answered, `skipped` came too fast, `failed` were refused. `uncertain` and `uncertain_below` are as of a Prediction.
    """

    emotion: str | None
    confidence: float
    scores: Mapping[str, float]
    seconds: float
    windows: int
    skipped: int
    failed: int
    ended: str
    uncertain: bool | None = None
    uncertain_below: float | None = None

    @staticmethod
    def of(message: Mapping[str, Any]) -> StreamSummary:
        """Return the summary that a server tells; what a newer one tells beside is left out."""
        known = {field.name for field in fields(StreamSummary)}
        return StreamSummary(**{key: value for key, value in message.items() if key in known})


async def talk(
    url: str, headers: Mapping[str, str], chunks: AsyncIterable[bytes], options: StreamOptions
) -> AsyncGenerator[StreamResult | StreamSummary, None]:
    """Yield what a server says of the chunks. Raises its errors, and RemoteError when it is lost."""
    require("websockets")
    from websockets.exceptions import ConnectionClosed

    socket = await _connected(url, headers)
    sending = asyncio.create_task(_send(socket, chunks, options))
    try:
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "ready":
                continue
            found = _read(message)
            yield found
            if isinstance(found, StreamSummary):
                return
        await sending  # what stopped it is the reason
        raise _lost(url, "the connection was closed")
    except ConnectionClosed as error:
        await sending
        raise _lost(url, str(error)) from error
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await sending
        await socket.close()


def _read(message: Mapping[str, Any]) -> StreamResult | StreamSummary:
    """Return what a message says; one about no window in particular is the stream's own error, and raised."""
    if message["type"] == "final":
        return StreamSummary.of(message)
    if message["type"] == "error" and "start" not in message:
        raise told(message["error"])
    where = (message["start"], message["stop"], message["skipped"])
    if message["type"] == "error":
        return StreamResult(*where, error=told(message["error"]))
    return StreamResult(*where, prediction=prediction_of(message))


async def _send(socket: ClientConnection, chunks: AsyncIterable[bytes], options: StreamOptions) -> None:
    from websockets.exceptions import ConnectionClosed

    try:
        await socket.send(json.dumps(_start(options)))
        async for chunk in chunks:
            for place in range(0, len(chunk), _CHUNK):
                await socket.send(chunk[place : place + _CHUNK])
        await socket.send(json.dumps({"type": "end"}))
    except ConnectionClosed:  # whoever reads knows more
        return
    except BaseException:
        await socket.close()
        raise


def _start(options: StreamOptions) -> dict[str, Any]:
    asked = {"type": "start", **asdict(options)}
    asked["labels"] = ",".join(options.labels) or None
    return asked


async def _connected(url: str, headers: Mapping[str, str]) -> ClientConnection:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus

    address = url.replace("http", "ws", 1).rstrip("/") + "/v1/stream"
    is_near = is_this_machine(urlsplit(url).hostname or "")
    given = {name: headers[name] for name in _PASSED_ON if name in headers}
    try:
        return await connect(
            address, additional_headers=given, user_agent_header=None, max_size=None, proxy=None if is_near else True
        )
    except InvalidStatus as error:
        raise _refusal(url, error) from error
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise _lost(url, str(error) or type(error).__name__) from error


def _refusal(url: str, error: InvalidStatus) -> EmotapeError:
    response = error.response
    try:
        document = json.loads(response.body)["error"]
    except (ValueError, KeyError, TypeError):
        return RemoteError("server_answer", url=url, status=response.status_code, reason=response.reason_phrase)
    return told(document, response.status_code, advised_wait(response.headers.get("retry-after")))


def _lost(url: str, reason: str) -> RemoteError:
    return RemoteError("server_unreachable", url=url.rstrip("/"), attempts=1, reason=reason)

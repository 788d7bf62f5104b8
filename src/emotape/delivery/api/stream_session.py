"""One stream from `ready` to `final`: sound is taken in, decoded in a thread, cut, recognized and answered in order."""

from __future__ import annotations

import asyncio
import json
import math
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import anyio.from_thread
import anyio.to_thread
from starlette.websockets import WebSocketDisconnect

from emotape.audio.decode import SHORTEST
from emotape.audio.stream import PcmFormat, encoded_blocks, pcm_blocks
from emotape.audio.waveform import SAMPLE_RATE
from emotape.delivery.api.errors import error_document
from emotape.delivery.api.guard import caller_of, request_id
from emotape.delivery.api.stream_windows import Summary, Window, Windows
from emotape.delivery.api.subset import restricted
from emotape.delivery.clock import local_now
from emotape.delivery.export.document import document
from emotape.errors import BadAudio, BadRequest, EmotapeError, TooLong, as_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from anyio.streams.memory import MemoryObjectReceiveStream as Source
    from anyio.streams.memory import MemoryObjectSendStream as Sink
    from numpy.typing import NDArray
    from starlette.websockets import WebSocket

    from emotape.delivery.api.service import Service
    from emotape.delivery.api.stream_options import StreamBounds, StreamStart
    from emotape.engine.result import Prediction
    from emotape.wording import Language

End = Literal["end", "idle", "limit", "draining", "error"]
NAME: Final = "stream"
_CHUNKS: Final = 8  # messages that wait for the decoder
_LOOK_SECONDS: Final = 0.2  # how often a session looks whether the service is stopping


@dataclass(frozen=True)
class Terms:
    """What holds for one stream beside its options: language, labels (none: all), and seconds at most."""

    language: Language
    keys: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Asked:
    """A window on its way, and how many were skipped before it."""

    window: Window
    future: Future[Prediction]
    skipped: int


class Session:
    """Four steps that run at once, each waiting for the one before it; what waits between them is bounded."""

    def __init__(
        self, service: Service, socket: WebSocket, asked: StreamStart, terms: Terms, bounds: StreamBounds
    ) -> None:
        self._service = service
        self._socket = socket
        self._asked = asked
        self._terms = terms
        self._bounds = bounds
        self._who = caller_of(socket)
        self._windows = Windows(round(asked.window * SAMPLE_RATE), round(asked.hop * SAMPLE_RATE))
        self._places = anyio.Semaphore(bounds.in_flight)
        self._under_way: set[Future[Prediction]] = set()
        self._summary = Summary()
        self._skipped = 0
        self._listening = anyio.CancelScope()
        self._is_gone = False
        self._ended: End | None = None
        self._failure: EmotapeError | None = None

    async def run(self) -> End | None:
        """Serve the stream to its end and return what ended it; None when the client has left."""
        chunks = anyio.create_memory_object_stream[bytes](_CHUNKS)
        blocks = anyio.create_memory_object_stream["NDArray[np.float32]"](0)  # decoding waits for cutting
        asked = anyio.create_memory_object_stream[Asked](math.inf)  # as many as there are places
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._receive, chunks[0], tasks.cancel_scope)
                tasks.start_soon(self._decode, chunks[1], blocks[0])
                tasks.start_soon(self._cut, blocks[1], asked[0])
                tasks.start_soon(self._watch)
                await self._answer(asked[1], tasks.cancel_scope)
                tasks.cancel_scope.cancel()
        finally:
            for future in tuple(self._under_way):
                future.cancel()
        return None if self._is_gone else await self._finish()

    async def _receive(self, chunks: Sink[bytes], everything: anyio.CancelScope) -> None:
        """Take in messages until the last one; leave everything when the client leaves."""
        async with chunks:
            try:
                with self._listening, anyio.move_on_after(self._bounds.session_seconds) as time:
                    while (chunk := await self._next_chunk()) is not None:
                        await chunks.send(chunk)
                if time.cancelled_caught:
                    self._end("limit")
            except WebSocketDisconnect:
                self._is_gone = True
                everything.cancel()
            except anyio.BrokenResourceError:  # the decoder has given up, and says why
                return
            except EmotapeError as error:
                self._fail(error)

    async def _next_chunk(self) -> bytes | None:
        """Return the next chunk; None at the end, or when none comes. Raises BadRequest ("stream_message")."""
        with anyio.move_on_after(self._bounds.idle_seconds) as waiting:
            message = await self._socket.receive()
        if waiting.cancelled_caught:
            self._end("idle")
            return None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data: bytes | None = message.get("bytes")
        if data is None:
            _check_end(message.get("text") or "")
            self._end("end")
        elif len(data) > self._bounds.chunk_bytes:
            raise TooLong("stream_chunk", bytes=len(data), limit=self._bounds.chunk_bytes)
        return data

    async def _decode(self, chunks: Source[bytes], blocks: Sink[NDArray[np.float32]]) -> None:
        """Decode in a thread of this session's own: most of the time it waits for chunks."""
        async with chunks, blocks:
            try:
                await anyio.to_thread.run_sync(self._decoded, chunks, blocks, limiter=anyio.CapacityLimiter(1))
            except anyio.BrokenResourceError:  # nobody needs more
                return
            except Exception as error:  # noqa: BLE001 - whatever the sound does to a decoder, the client is told
                self._fail(as_fault(error))

    def _decoded(self, chunks: Source[bytes], blocks: Sink[NDArray[np.float32]]) -> None:
        asked, limits = self._asked, self._service.recognizer.options.decode
        coming = _received(chunks)
        if asked.format == "encoded":
            found = encoded_blocks(coming, limits)
        else:
            found = pcm_blocks(coming, PcmFormat(asked.format, asked.rate, asked.channels), limits)
        for block in found:
            anyio.from_thread.run(blocks.send, block)

    async def _cut(self, blocks: Source[NDArray[np.float32]], asked: Sink[Asked]) -> None:
        """Cut windows, and hand them to the recognizer."""
        limit = round(self._terms.seconds * SAMPLE_RATE)
        async with asked:
            async with blocks:
                async for block in blocks:
                    room = limit - self._windows.heard
                    for window in self._windows.add(block[:room]):
                        await self._offer(window, asked, may_skip=self._asked.late == "skip")
                    if len(block) >= room:
                        self._end("limit")
                        self._listening.cancel()
                        break
            last = self._windows.rest()
            if last is not None:
                await self._offer(last, asked, may_skip=False)

    async def _offer(self, window: Window, asked: Sink[Asked], *, may_skip: bool) -> None:
        """Ask for a window's answer when there is a place; else skip it, or wait."""
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            if may_skip:
                self._skipped += 1
                self._summary.skipped += 1
                return
            await self._places.acquire()
        await asked.send(Asked(window, await self._submitted(window), self._skipped))
        self._skipped = 0

    async def _submitted(self, window: Window) -> Future[Prediction]:
        options = self._asked
        try:
            check = self._service.quotas.check_audio(self._who)
            if check is not None:
                await check
            # Quality is always asked for: it has somebody look where speech is, and the summary is weighted by that.
            future: Future[Prediction] = self._service.recognizer.submit(
                window.waveform, granularity=options.granularity, embedding=options.embedding, quality=True
            )
        except EmotapeError as error:
            future = Future()
            future.set_exception(error)
            return future
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    async def _answer(self, asked: Source[Asked], everything: anyio.CancelScope) -> None:
        """Tell the answers in the order of their windows."""
        async with asked:
            async for one in asked:
                try:
                    await self._socket.send_json(await self._told(one))
                except WebSocketDisconnect:
                    self._is_gone = True
                    everything.cancel()
                    return
                finally:
                    self._places.release()

    async def _told(self, asked: Asked) -> dict[str, Any]:
        """Return the message about one window: its result, or its error, which does not end the stream."""
        try:
            prediction = await asyncio.wrap_future(asked.future)
        except EmotapeError as error:
            self._summary.failed += 1
            return {"type": "error", **asked.window.times, "skipped": asked.skipped, **self._error(error)}
        self._service.quotas.charge(self._who, prediction.seconds)
        found = restricted(prediction, self._terms.keys)
        self._summary.add(found)
        finished = local_now()
        values = await asyncio.to_thread(document, NAME, found, finished, {}, self._terms.language)
        return {"type": "result", **asked.window.times, "skipped": asked.skipped, **values}

    async def _watch(self) -> None:
        """End the stream when the service stops; what was heard until then is answered."""
        while self._service.readiness.phase != "draining":
            await anyio.sleep(_LOOK_SECONDS)
        self._end("draining")
        self._listening.cancel()

    async def _finish(self) -> End | None:
        if self._failure is None and self._windows.heard < SHORTEST:
            self._fail(_too_short(self._windows.heard))
        try:
            if self._failure is not None:
                await self._socket.send_json({"type": "error", **self._error(self._failure)})
            seconds = round(self._windows.heard / SAMPLE_RATE, 6)
            told = {"type": "final", "ended": self._ended, "seconds": seconds, **self._summary.document()}
            await self._socket.send_json(told)
        except WebSocketDisconnect:
            return None
        return self._ended

    def _end(self, how: End) -> None:
        """Note what ended the stream; the first reason counts."""
        self._ended = self._ended or how

    def _fail(self, error: EmotapeError) -> None:
        self._failure = self._failure or error
        self._ended = "error"
        self._listening.cancel()

    def _error(self, error: EmotapeError) -> dict[str, Any]:
        return error_document(error, self._terms.language, request_id(self._socket))


def _received(chunks: Source[bytes]) -> Iterator[bytes]:
    """Yield chunks in the decoder's thread, until the last one."""
    while True:
        try:
            yield anyio.from_thread.run(chunks.receive)
        except (anyio.EndOfStream, asyncio.CancelledError):  # a cancelled session: FFmpeg must not meet the exception
            return


def _check_end(text: str) -> None:
    """Raise BadRequest ("stream_message") unless a message says that the sound has ended."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if message != {"type": "end"}:
        raise BadRequest("stream_message")


def _too_short(samples: int) -> BadAudio:
    return BadAudio("too_short", samples=samples, shortest=SHORTEST) if samples else BadAudio("no_samples")

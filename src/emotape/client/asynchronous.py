"""The client for coroutines; it also streams."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import ExitStack, aclosing
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from emotape.client import calls
from emotape.client.connection import ClientOptions, http_settings
from emotape.client.jobs import Job, JobResult, look_after
from emotape.client.streaming import StreamOptions, StreamResult, StreamSummary, talk
from emotape.client.synchronous import Answered
from emotape.client.upload import Source, opened
from emotape.errors import EmotapeError, Expired

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    import httpx

    from emotape.client.calls import Call, Comparison, RequestOptions
    from emotape.client.upload import Upload
    from emotape.engine.result import Prediction
    from emotape.model.labels import Label

Answer = TypeVar("Answer")


class AsyncClient:
    """Like `Client`, for coroutines; cancelling a task withdraws its request. One event loop uses it."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        options: ClientOptions | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.options = options or ClientOptions()
        settings = http_settings(self.url, key, self.options)
        import httpx

        self._http = httpx.AsyncClient(**settings)
        self._sleep = sleep

    async def recognize(self, source: Source, **wanted: Unpack[RequestOptions]) -> Prediction:
        """Return the emotion of a recording, its channels mixed down."""
        return await self._answer(calls.recognize(source, wanted))

    async def recognize_channels(self, source: Source, **wanted: Unpack[RequestOptions]) -> tuple[Prediction, ...]:
        """Return the emotion of each channel, in order."""
        return await self._answer(calls.recognize_channels(source, wanted))

    async def many(self, sources: Iterable[Source], **wanted: Unpack[RequestOptions]) -> AsyncIterator[Answered]:
        """Yield what becomes of each recording, in order; a few are under way at once. One's error is its own."""
        waiting: deque[asyncio.Task[Answered]] = deque()
        try:
            for source in sources:
                waiting.append(asyncio.create_task(self._answered(source, wanted)))
                if len(waiting) >= self.options.at_once:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def compare(self, sources: Sequence[Source]) -> Comparison:
        """Return how alike two or more recordings are, by their embeddings."""
        return await self._answer(calls.compare(sources))

    async def labels(self) -> tuple[Label, ...]:
        """Return the emotions that the server's model knows, in its own order."""
        return await self._answer(calls.labels())

    async def stream(
        self, chunks: AsyncIterable[bytes], options: StreamOptions | None = None
    ) -> AsyncGenerator[StreamResult | StreamSummary, None]:
        """Send sound as it comes, and yield a result for every window and a summary at the end.

        Raises what ends a stream: BadAudio, TooLong, BadRequest, Denied …; what `chunks` raises ends it, too.
        """
        talking = talk(str(self._http.base_url), dict(self._http.headers), chunks, options or StreamOptions())
        async with aclosing(talking):  # whoever ends this early has ended the connection then
            async for told in talking:
                yield told

    async def submit_job(
        self, sources: Sequence[Source], *, callback_url: str | None = None, **wanted: Unpack[RequestOptions]
    ) -> Job:
        """Hand over recordings that are to be answered whatever happens."""
        return await self._answer(calls.submit_job(sources, wanted, {"callback_url": callback_url}))

    async def job(self, name: str) -> Job:
        """Return how far a job is. Raises NotFound ("job_unknown")."""
        return await self._answer(calls.job(name))

    async def wait(
        self, name: str, *, seconds: float | None = None, progress: Callable[[Job], object] | None = None
    ) -> Job:
        """Wait for the end of a job, telling `progress` whenever it was looked at. Raises Expired ("job_stopped")."""
        waited = 0.0
        looks = 0
        while True:
            found = await self.job(name)
            if progress is not None:
                progress(found)
            if found.is_over:
                return found
            if seconds is not None and waited >= seconds:
                raise Expired("job_stopped", job=name, seconds=seconds, state=found.state)
            pause = look_after(looks) if seconds is None else min(look_after(looks), seconds - waited)
            await self._sleep(pause)
            waited, looks = waited + pause, looks + 1

    async def results(self, name: str) -> tuple[JobResult, ...]:
        """Return what became of a job's recordings so far, in order."""
        return await self._answer(calls.job_results(name))

    async def cancel(self, name: str) -> Job:
        """Cancel what is not finished of a job."""
        found = await self.job(name)
        return found if found.is_over else await self._answer(calls.cancel_job(name, found))

    async def delete(self, name: str) -> None:
        """Delete a job that has ended, with its results; one that has not is cancelled first."""
        await self._answer(calls.cancel_job(name, await self.cancel(name)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _answered(self, source: Source, wanted: RequestOptions) -> Answered:
        try:
            return Answered(source, await self.recognize(source, **wanted))
        except EmotapeError as error:
            return Answered(source, error=error)

    async def _answer(self, call: Call[Answer]) -> Answer:
        with ExitStack() as stack:
            uploads = [await asyncio.to_thread(stack.enter_context, opened(source)) for source in call.sources]
            return calls.finished(call, await self._response(call, uploads))

    async def _response(self, call: Call[Any], uploads: Sequence[Upload]) -> httpx.Response:
        failures = 0
        while True:
            failures += 1
            outcome = await self._outcome(call, uploads)
            wait = calls.wait_before_another(self.options.retry, failures, outcome)
            if wait is not None:
                await self._sleep(wait)
            elif isinstance(outcome, Exception):
                raise calls.lost(outcome, self.url, failures, self.options.timeout) from outcome
            else:
                return outcome

    async def _outcome(self, call: Call[Any], uploads: Sequence[Upload]) -> httpx.Response | httpx.TransportError:
        import httpx

        body: dict[str, Any] = {"content": _blocks(uploads[0])} if call.bare else {}
        try:
            return await self._http.request(**call.sent(uploads), **body)
        except httpx.TransportError as error:
            return error


async def _blocks(upload: Upload) -> AsyncIterator[bytes]:
    """Read a recording in a thread, block by block."""
    blocks = upload.blocks()
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block

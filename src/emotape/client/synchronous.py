"""The client that waits: `Recognizer`'s methods, answered by a server."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from emotape.client import calls
from emotape.client.connection import ClientOptions, http_settings
from emotape.client.jobs import Job, JobResult, look_after
from emotape.client.upload import Source, opened
from emotape.errors import EmotapeError, Expired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    import httpx

    from emotape.client.calls import Call, Comparison, RequestOptions
    from emotape.client.upload import Upload
    from emotape.engine.result import Prediction
    from emotape.model.labels import Label

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Answered:
    """What became of one recording of many: a prediction, or an error."""

    source: Source
    prediction: Prediction | None = None
    error: EmotapeError | None = None


class Client:
    """Asks a server what a `Recognizer` would be asked, with the same methods, answers and errors.

        with Client("http://127.0.0.1:7860") as client:
            print(client.recognize("speech.mp3").emotion)

    Refusals for the moment (429, 503) and lost connections are tried again, as `options.retry` says and the server
    asks. Safe to use from any thread. Raises BadRequest ("server_address", "client_not_installed").

    Every method raises the server's errors as the classes that they are there, with the server's texts; RemoteError
    ("server_unreachable", "server_answer") and Expired ("no_answer") when there is no answer of ours.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        options: ClientOptions | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.options = options or ClientOptions()
        settings = http_settings(self.url, key, self.options)
        import httpx

        self._http = httpx.Client(**settings)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def recognize(self, source: Source, **wanted: Unpack[RequestOptions]) -> Prediction:
        """Return the emotion of a recording, its channels mixed down; `source` and options as for a Recognizer."""
        return self._answer(calls.recognize(source, wanted))

    def recognize_channels(self, source: Source, **wanted: Unpack[RequestOptions]) -> tuple[Prediction, ...]:
        """Return the emotion of each channel, in order."""
        return self._answer(calls.recognize_channels(source, wanted))

    def submit(self, source: Source, **wanted: Unpack[RequestOptions]) -> Future[Prediction]:
        """Like `recognize`, without waiting. `cancel()` withdraws a request that was not sent yet."""
        return self._threads().submit(self.recognize, source, **wanted)

    def many(self, sources: Iterable[Source], **wanted: Unpack[RequestOptions]) -> Iterator[Answered]:
        """Yield what becomes of each recording, in order; a few are under way at once. One's error is its own."""
        waiting: deque[tuple[Source, Future[Prediction]]] = deque()
        try:
            for source in sources:
                waiting.append((source, self.submit(source, **wanted)))
                if len(waiting) >= self.options.at_once:
                    yield _answered(*waiting.popleft())
            while waiting:
                yield _answered(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()

    def compare(self, sources: Sequence[Source]) -> Comparison:
        """Return how alike two or more recordings are, by their embeddings."""
        return self._answer(calls.compare(sources))

    @property
    def labels(self) -> tuple[Label, ...]:
        """The emotions that the server's model knows, in its own order."""
        return self._answer(calls.labels())

    @property
    def digest(self) -> str:
        """The digest of the weights that the server uses."""
        return self._answer(calls.digest())

    def submit_job(
        self, sources: Sequence[Source], *, callback_url: str | None = None, **wanted: Unpack[RequestOptions]
    ) -> Job:
        """Hand over recordings that are to be answered whatever happens; they need not fit the memory."""
        return self._answer(calls.submit_job(sources, wanted, {"callback_url": callback_url}))

    def job(self, name: str) -> Job:
        """Return how far a job is. Raises NotFound ("job_unknown")."""
        return self._answer(calls.job(name))

    def wait(self, name: str, *, seconds: float | None = None, progress: Callable[[Job], object] | None = None) -> Job:
        """Wait for the end of a job, telling `progress` whenever it was looked at.

        Raises Expired ("job_stopped") when that takes longer than `seconds`.
        """
        waited = 0.0
        looks = 0
        while True:
            found = self.job(name)
            if progress is not None:
                progress(found)
            if found.is_over:
                return found
            if seconds is not None and waited >= seconds:
                raise Expired("job_stopped", job=name, seconds=seconds, state=found.state)
            pause = look_after(looks) if seconds is None else min(look_after(looks), seconds - waited)
            self._sleep(pause)
            waited, looks = waited + pause, looks + 1

    def results(self, name: str) -> tuple[JobResult, ...]:
        """Return what became of a job's recordings so far, in order."""
        return self._answer(calls.job_results(name))

    def cancel(self, name: str) -> Job:
        """Cancel what is not finished of a job."""
        found = self.job(name)
        return found if found.is_over else self._answer(calls.cancel_job(name, found))

    def delete(self, name: str) -> None:
        """Delete a job that has ended, with its results; one that has not is cancelled first."""
        self._answer(calls.cancel_job(name, self.cancel(name)))

    def close(self) -> None:
        """Withdraw what was not sent yet, and close the connections."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.options.at_once, thread_name_prefix="emotape-client")
            return self._pool

    def _answer(self, call: Call[Answer]) -> Answer:
        """Ask until there is an answer, or asking again is no use."""
        with ExitStack() as stack:
            uploads = [stack.enter_context(opened(source)) for source in call.sources]
            return calls.finished(call, self._response(call, uploads))

    def _response(self, call: Call[Any], uploads: Sequence[Upload]) -> httpx.Response:
        failures = 0
        while True:
            failures += 1
            outcome = self._outcome(call, uploads)
            wait = calls.wait_before_another(self.options.retry, failures, outcome)
            if wait is not None:
                self._sleep(wait)
            elif isinstance(outcome, Exception):
                raise calls.lost(outcome, self.url, failures, self.options.timeout) from outcome
            else:
                return outcome

    def _outcome(self, call: Call[Any], uploads: Sequence[Upload]) -> httpx.Response | httpx.TransportError:
        import httpx

        body: dict[str, Any] = {"content": uploads[0].blocks()} if call.bare else {}
        try:
            return self._http.request(**call.sent(uploads), **body)
        except httpx.TransportError as error:
            return error


def _answered(source: Source, future: Future[Prediction]) -> Answered:
    try:
        return Answered(source, future.result())
    except EmotapeError as error:
        return Answered(source, error=error)

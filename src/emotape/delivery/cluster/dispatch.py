"""Requests become calls: gathered while others are under way, asked again elsewhere when a replica is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import InvalidStateError
from contextlib import suppress
from contextvars import Context
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from emotape.delivery.cluster.calls import Lost
from emotape.delivery.cluster.messages import as_value
from emotape.errors import EmotapeError, EngineFault, Expired, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from emotape.delivery.cluster.messages import Answers, Load, Question
    from emotape.engine.progress import Pending
    from emotape.engine.result import Prediction

SMALL: Final = 256 * 1024
"""Bytes up to which a recording is asked about together with others; a longer one would hold up their answers."""
_LINGER_SECONDS: Final = 0.004
_BACKOFF_SECONDS: Final = 0.2


class Asks(Protocol):
    """Asks one engine about recordings, as `Replicas.recognize` does; tests bring another."""

    async def __call__(self, model: str, questions: Sequence[Question], /) -> Answers:
        """Return an answer for each. Raises Lost, and errors of ours that are everybody's."""


@dataclass(frozen=True)
class DispatchOptions:
    """How many recordings at most are asked about in one call, and how often each is asked about at most."""

    together: int = 8
    attempts: int = 5


@dataclass(frozen=True, eq=False)
class Errand:
    """A question on its way. `deadline` is on the monotonic clock; `size` is what it carries, in bytes."""

    model: str
    question: Question
    answer: Pending[tuple[Prediction, ...]]
    deadline: float | None
    size: int

    @property
    def is_open(self) -> bool:
        """Whether it still waits for its answer."""
        return not self.answer.done()

    @property
    def way(self) -> tuple[str, bool]:
        """What it has in common with those that it may be asked together with."""
        return self.model, isinstance(self.question.content, bytes)

    def current(self) -> Question:
        """Return the question with the seconds that are left now."""
        if self.deadline is None:
            return self.question
        return replace(self.question, seconds=max(0.001, self.deadline - time.monotonic()))


class Dispatch:
    """A thread with an event loop, in which every call is made. Errands may be sent from any thread."""

    def __init__(self, ask: Asks, options: DispatchOptions, heard: Callable[[Load], None] = lambda _: None) -> None:
        self._ask = ask
        self._options = options
        self._heard = heard
        self._waiting: dict[tuple[str, bool], list[Errand]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emotape-cluster", daemon=True)
        self._thread.start()

    def send(self, errand: Errand) -> None:
        """Lead an errand to its answer."""
        self._soon(self._take, errand)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do asynchronous work in this thread's loop, and wait for it; not from within the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Wait for every answer, then end the thread."""
        if self._thread.is_alive():
            self.run(self._emptied())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _soon(self, call: Callable[..., object], *arguments: object) -> None:
        # In a context of its own: Ray Serve would cancel a call for several with the request that was one of them.
        with suppress(RuntimeError):  # the loop is closed, and nothing waits
            self._loop.call_soon_threadsafe(call, *arguments, context=Context())

    async def _emptied(self) -> None:
        while self._calls or any(self._waiting.values()):
            await asyncio.sleep(_LINGER_SECONDS)

    def _take(self, errand: Errand) -> None:
        if errand.deadline is not None:
            expiry = self._loop.call_later(max(0.0, errand.deadline - time.monotonic()), _expire, errand)
            errand.answer.add_done_callback(lambda _: self._soon(expiry.cancel))
        if errand.size > SMALL or not self._calls:
            self._call([errand])
            return
        line = self._waiting.setdefault(errand.way, [])
        line.append(errand)
        if len(line) >= self._options.together:
            self._flush(errand.way)
        elif len(line) == 1:
            self._loop.call_later(_LINGER_SECONDS, self._flush, errand.way)

    def _flush(self, way: tuple[str, bool]) -> None:
        line = [errand for errand in self._waiting.pop(way, ()) if errand.is_open]
        if line:
            self._call(line)

    def _call(self, errands: list[Errand], attempt: int = 1) -> None:
        """Ask about errands together; when all of them were answered otherwise, the call is withdrawn."""
        task = self._loop.create_task(self._asked(errands, attempt), context=Context())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        left = _Left(len(errands), task)
        for errand in errands:
            errand.answer.add_done_callback(lambda _: self._soon(left.one))

    async def _asked(self, errands: list[Errand], attempt: int) -> None:
        if attempt > 1:
            await asyncio.sleep(_BACKOFF_SECONDS * 2 ** (attempt - 2))
        try:
            answers = await self._ask(errands[0].model, [errand.current() for errand in errands])
        except Lost as loss:
            self._again(errands, attempt, loss.reason)
        except Exception as error:  # noqa: BLE001 - a request without an answer would wait for ever
            fault = as_value(error)
            for errand in errands:
                settle(errand, fault)
        else:
            self._heard(answers.load)
            for errand, given in zip(errands, answers.given, strict=True):
                self._settle(errand, given, attempt)

    def _settle(self, errand: Errand, given: tuple[Prediction, ...] | EmotapeError, attempt: int) -> None:
        """Give an errand its answer; where an engine's queue was full, another's may not be."""
        if isinstance(given, Overloaded) and attempt < self._options.attempts and errand.is_open:
            self._call([errand], attempt + 1)
        else:
            settle(errand, given)

    def _again(self, errands: list[Errand], attempt: int, reason: str) -> None:
        """Ask elsewhere, each errand alone, so that one recording that ends replicas takes no other along."""
        for errand in errands:
            if attempt >= self._options.attempts:
                settle(errand, EngineFault("cluster_gave_up", attempts=attempt, reason=reason))
            elif errand.is_open:
                self._call([errand], attempt + 1)


@dataclass(eq=False)
class _Left:
    """Counts who still waits for a call, and withdraws it when nobody does."""

    waiting: int
    task: asyncio.Task[None]

    def one(self) -> None:
        self.waiting -= 1
        if self.waiting == 0:
            self.task.cancel()


def settle(errand: Errand, given: tuple[Prediction, ...] | EmotapeError) -> None:
    """Make something an errand's answer, unless it has one."""
    with suppress(InvalidStateError):
        if isinstance(given, EmotapeError):
            errand.answer.set_exception(copy(given))  # raising marks an error: each caller has one of its own
        else:
            errand.answer.set_result(given)


def _expire(errand: Errand) -> None:
    settle(errand, Expired("expired"))

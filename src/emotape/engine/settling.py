"""States as a fact how a request was settled: its stages, its seconds, its error."""

from __future__ import annotations

import time
from contextvars import copy_context
from typing import TYPE_CHECKING

from emotape.errors import Cancelled, EmotapeError, as_fault
from emotape.events import Observer, Settled, silent, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from emotape.engine.progress import Pending
    from emotape.engine.result import Prediction


class Settling:
    """Times one request from now on, and tells an observer how it ended, in the context of whoever made it."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._context = copy_context()
        self._made = time.perf_counter()
        self._waited: float | None = None

    def begin(self) -> None:
        """Note that the request's turn has come."""
        self._waited = time.perf_counter() - self._made

    def watch(self, admit: Callable[[], Pending[tuple[Prediction, ...]]]) -> Pending[tuple[Prediction, ...]]:
        """Return the answer that `admit` makes, or let pass what it raises; either is told."""
        try:
            answer = admit()
        except EmotapeError as error:
            self._failed(error)
            raise
        if self._observer is not silent:
            answer.add_done_callback(self._settled)
        return answer

    def _settled(self, answer: Future[tuple[Prediction, ...]]) -> None:
        if answer.cancelled():
            self._failed(Cancelled("cancelled"))
        elif (error := answer.exception()) is not None:
            self._failed(as_fault(error))
        else:
            self._answered(answer.result())

    def _failed(self, error: EmotapeError) -> None:
        seconds = time.perf_counter() - self._made
        stages = {} if self._waited is None else {"wait": self._waited}
        self._tell(Settled(seconds, stages, code=error.code, fault=error.fault))

    def _answered(self, predictions: Sequence[Prediction]) -> None:
        seconds, waited = time.perf_counter() - self._made, self._waited or 0.0
        stages = {"wait": waited} | _stages(predictions)
        finish = max(0.0, seconds - sum(stages.values()))
        self._tell(Settled(seconds, stages | {"finish": finish}, sum(each.seconds for each in predictions)))

    def _tell(self, event: Settled) -> None:
        self._context.run(tell, self._observer, event)


def _stages(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the stages of a request's predictions: its channels shared them all, but for finding their windows."""
    found = dict(predictions[0].stages)
    if "window" in found:
        found["window"] = sum(each.stages["window"] for each in predictions)
    return found

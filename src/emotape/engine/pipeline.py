"""The threads and processes around a resident model, and how their work becomes answers.

Every admitted request gets exactly one answer. Its future stays pending until then, so that `cancel()` withdraws it at
any time; whatever a stage raises becomes the answer.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from threading import BoundedSemaphore
from traceback import clear_frames
from typing import TYPE_CHECKING, TypeVar

from emotape.audio.decode import decode
from emotape.audio.processes import Decoder, DecodingProcesses
from emotape.engine.progress import Pending, Progress
from emotape.errors import Cancelled, Overloaded, as_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.engine.resident import Resident
    from emotape.engine.scheduler import RunReport

Answer = TypeVar("Answer")


class Pipeline:
    """A resident model with a pool of threads that decode before it and one that makes predictions after it.

    `decode` turns a source into a recording: in the thread that calls it, or in a process that this thread waits for.
    """

    def __init__(self, resident: Resident, pending: int) -> None:
        plan = resident.plan
        self.resident = resident
        self._processes = _warm(plan.decode_processes) if plan.decode_processes > 0 else None
        self.decode: Decoder = decode if self._processes is None else self._processes.decode
        threads = max(plan.decode_threads, plan.decode_processes)
        self._decoders = ThreadPoolExecutor(threads, "emotape-decode", _calculate_alone)
        self._finisher = ThreadPoolExecutor(1, "emotape-finish")
        self._places = BoundedSemaphore(pending)

    def admit(self, work: Callable[[Pending[Answer]], None]) -> Pending[Answer]:
        """Run `work(answer)` in the decoding pool; it leads to the answer, or what it raises becomes the answer."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(retry_after=1.0, waiting=round(self.resident.waiting_seconds))
        answer: Pending[Answer] = Pending()
        answer.add_done_callback(lambda _: self._places.release())
        try:
            self._decoders.submit(_guarded, answer, lambda: None if answer.done() else work(answer))
        except RuntimeError as error:  # the pool is shut down: close() came between
            _fail(answer, error)
        return answer

    def aside(self, work: Callable[[], None]) -> None:
        """Do `work` in the decoding pool; it sees to its own errors. Raises RuntimeError once the pool is closed."""
        self._decoders.submit(work)

    def when_done(
        self, report: Pending[RunReport], answer: Pending[Answer], finish: Callable[[RunReport], Answer]
    ) -> None:
        """Answer with `finish(report)` once the engine has run."""

        def settle() -> None:
            if not report.cancelled():  # only the caller cancels, and has an answer then
                _settle(answer, finish(report.result()))

        answer.follow(lambda: Progress("finishing") if report.done() else report.progress())
        report.add_done_callback(lambda _: self._finisher.submit(_guarded, answer, settle))

    def close(self) -> None:
        """Answer everything that was admitted, stage by stage, then end the threads and processes."""
        self._decoders.shutdown()
        if self._processes is not None:
            self._processes.close()
        self.resident.close()
        self._finisher.shutdown()


def _warm(processes: int) -> DecodingProcesses:
    decoding = DecodingProcesses(processes)
    decoding.warm_up()
    return decoding


def _calculate_alone() -> None:
    """Keep torch in a decoding thread to that thread: the cores' teams belong to the network."""
    import torch

    torch.set_num_threads(1)


def _guarded(answer: Future[Answer], work: Callable[[], None]) -> None:
    """Do a part of a request's work; whatever it raises becomes the request's answer."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - a request without an answer would wait for ever
        _fail(answer, error)
    finally:
        del answer, work  # the error knows this frame; it must not lead back to the answer that holds the error


def _settle(answer: Future[Answer], value: Answer) -> None:
    try:
        answer.set_result(value)
    except InvalidStateError:
        return  # the caller left in the meantime


def _fail(answer: Future[Answer], error: BaseException) -> None:
    clear_frames(error.__traceback__)  # who keeps the error shall not keep the sound that was being worked on
    try:
        answer.set_exception(as_fault(error))
    except InvalidStateError:
        return  # the caller left in the meantime


def first(inner: Pending[tuple[Answer, ...]]) -> Pending[Answer]:
    """Return a future for the first of the values of `inner`; cancelling either cancels both."""
    outer: Pending[Answer] = Pending()
    outer.follow(inner.progress)

    def settle(done: Future[tuple[Answer, ...]]) -> None:
        if done.cancelled():
            outer.cancel()
        else:
            _guarded(outer, lambda: _settle(outer, done.result()[0]))

    outer.add_done_callback(lambda answered: inner.cancel() if answered.cancelled() else None)
    inner.add_done_callback(settle)
    return outer


def waited(answer: Future[Answer]) -> Answer:
    """Wait for an answer; a caller who is interrupted while waiting withdraws the request."""
    try:
        return answer.result()
    except CancelledError as error:
        raise Cancelled("cancelled") from error
    finally:
        answer.cancel()
        del answer  # an error that it raised knows this frame

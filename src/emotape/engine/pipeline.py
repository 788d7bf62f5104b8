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
from emotape.engine.control.adaptation import Look
from emotape.engine.control.course import Bounds
from emotape.engine.decoding_pool import DecodingPool
from emotape.engine.progress import Pending
from emotape.errors import Cancelled, Overloaded, as_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.engine.control.course import Course
    from emotape.engine.resident import Resident
    from emotape.engine.scheduler import RunReport

Answer = TypeVar("Answer")
Made = TypeVar("Made")


class Pipeline:
    """A resident model with threads that decode before it and one that makes predictions after it.

    `decode` turns a source into a recording: in the thread that calls it, or in a process that this thread waits for.
    """

    def __init__(self, resident: Resident, pending: int) -> None:
        plan = resident.plan
        self.resident = resident
        self._processes = _warm(plan.decode_processes) if plan.decode_processes > 0 else None
        self.decode: Decoder = decode if self._processes is None else self._processes.decode
        threads = max(plan.decode_threads, plan.decode_processes)
        self._decoders = DecodingPool(threads, _calculate_alone)
        self._finisher = ThreadPoolExecutor(1, "emotape-finish")
        self._places = BoundedSemaphore(pending)

    def admit(self, work: Callable[[Pending[Answer]], None]) -> Pending[Answer]:
        """Run `work(answer)` in the decoding pool; it leads to the answer, or what it raises becomes the answer."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(retry_after=1.0, waiting=round(self.resident.waiting_seconds))
        answer: Pending[Answer] = Pending()
        answer.add_done_callback(lambda _: self._places.release())
        try:
            self._decoders.submit(lambda: _guarded(answer, lambda: None if answer.done() else work(answer)))
        except RuntimeError as error:  # the pool is shut down: close() came between
            fail(answer, error)
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

        answer.follow(report.progress)
        report.add_done_callback(lambda _: self._finisher.submit(_guarded, answer, settle))

    def look(self) -> Look:
        """Look at what is under way."""
        scheduler = self.resident.scheduler
        return Look(scheduler.work.look(), scheduler.runners, scheduler.backlog_seconds, self._decoders.waiting)

    def bounds(self) -> Bounds:
        """Return what the plan and the device's memory allow."""
        plan = self.resident.plan
        return Bounds(self._decoders.threads, self.resident.scheduler.most_tape_tokens, plan.queue_seconds)

    def steer(self, course: Course) -> None:
        """Decode, wait and run tapes like this from now on."""
        self._decoders.limit = course.decoders
        self.resident.scheduler.shape_tapes(course.tape_tokens)
        self.resident.scheduler.queue_seconds = course.queue_seconds

    def release(self) -> None:
        """Give back the memory of decoding processes that have nothing to do."""
        if self._processes is not None:
            self._processes.end_idle()

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
        fail(answer, error)
    finally:
        del answer, work  # the error knows this frame; it must not lead back to the answer that holds the error


def _settle(answer: Future[Answer], value: Answer) -> None:
    try:
        answer.set_result(value)
    except InvalidStateError:
        return  # the caller left in the meantime


def fail(answer: Future[Answer], error: BaseException) -> None:
    """Make an error a request's answer, unless it has one."""
    clear_frames(error.__traceback__)  # who keeps the error shall not keep the sound that was being worked on
    try:
        answer.set_exception(as_fault(error))
    except InvalidStateError:
        return  # the caller left in the meantime


def first(inner: Pending[tuple[Answer, ...]]) -> Pending[Answer]:
    """Return a future for the first of the values of `inner`; cancelling either cancels both."""
    outer: Pending[Answer] = Pending()
    relay(inner, outer, lambda answers: answers[0])
    return outer


def relay(inner: Pending[Made], outer: Pending[Answer], take: Callable[[Made], Answer]) -> None:
    """Lead `inner` to `outer`: what `take` makes of its value, or its error. Cancelling either cancels both."""
    outer.follow(inner.progress)

    def settle(done: Future[Made]) -> None:
        if done.cancelled():
            outer.cancel()
        else:
            _guarded(outer, lambda: _settle(outer, take(done.result())))

    outer.add_done_callback(lambda answered: inner.cancel() if answered.cancelled() else None)
    inner.add_done_callback(settle)


def attempted(answer: Pending[Answer], admit: Callable[[], Pending[Answer]]) -> None:
    """Lead what `admit` makes to `answer`, or what it raises."""
    _guarded(answer, lambda: relay(admit(), answer, lambda made: made))


def waited(answer: Future[Answer]) -> Answer:
    """Wait for an answer; a caller who is interrupted while waiting withdraws the request."""
    try:
        return answer.result()
    except CancelledError as error:
        raise Cancelled("cancelled") from error
    finally:
        answer.cancel()
        del answer  # an error that it raised knows this frame

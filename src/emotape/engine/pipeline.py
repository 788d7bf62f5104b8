"""The threads and processes around a resident model, and how their work becomes answers.

Every admitted request gets exactly one answer. Its future stays pending until then, so that `cancel()` withdraws it at
any time; whatever a stage raises becomes the answer.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Generic, TypeVar

from emotape.audio.decode import decode
from emotape.audio.processes import MOST_MEMORY, Decoder, DecodingProcesses
from emotape.audio.reader import way_back
from emotape.engine.control.adaptation import Look
from emotape.engine.control.course import Bounds
from emotape.engine.decoding_pool import DecodingPool
from emotape.engine.progress import Pending, Progress, fail
from emotape.engine.room import Lease, NoRoom, Room, Waiting
from emotape.engine.roomy_decoder import RoomyDecoder
from emotape.errors import Cancelled, EmotapeError, Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.audio.decode import AudioSource, ChannelMode, DecodeLimits, Recording
    from emotape.engine.control.course import Course
    from emotape.engine.resident import Resident
    from emotape.engine.scheduler import RunReport

Answer = TypeVar("Answer")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class _Errand(Generic[Answer]):
    """A request on its way to the network: `work` leads to its answer. `deadline` is on the monotonic clock."""

    answer: Pending[Answer]
    work: Callable[[Pending[Answer], Decoder], None]
    deadline: float | None


class Pipeline:
    """A resident model with threads that decode before it and one that makes predictions after it.

    What is decoded, and what waits decoded, has room in memory; a request without waits for some, without a thread.
    """

    def __init__(self, resident: Resident, pending: int) -> None:
        plan = resident.plan
        self.resident = resident
        self._processes = _warm(plan.decode_processes) if plan.decode_processes > 0 else None
        self._decode: Decoder = decode if self._processes is None else self._processes.decode
        threads = max(plan.decode_threads, plan.decode_processes)
        self.room = Room(plan.decoded_megabytes, threads, MOST_MEMORY if self._processes is not None else 0)
        self._decoders = DecodingPool(threads, _calculate_alone)
        self._finisher = ThreadPoolExecutor(1, "emotape-finish")
        self._pending = pending
        self._places = BoundedSemaphore(pending)

    def admit(self, work: Callable[[Pending[Answer], Decoder], None], deadline: float | None = None) -> Pending[Answer]:
        """Run `work(answer, decode)` in the decoding pool; it leads to the answer, or raises what becomes the answer.

        Where `decode` raises NoRoom, the request waits and its work begins anew. `deadline` is on the monotonic clock.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded(retry_after=1.0, waiting=round(self.resident.waiting_seconds))
        answer: Pending[Answer] = Pending()
        answer.add_done_callback(lambda _: self._places.release())
        self._begin(_Errand(answer, work, deadline), None)
        return answer

    def aside(self, work: Callable[[], None]) -> None:
        """Do `work` in the decoding pool; it sees to its own errors. Raises RuntimeError once the pool is closed."""
        self._decoders.submit(work)

    def hold(self, size: int, answer: Pending[Answer]) -> None:
        """Count bytes that a request takes beside what is decoded for it: the caller's waveform, an answer's arrays."""
        lease = self.room.lend(size)
        answer.add_done_callback(lambda _: lease.end())

    def decode(self, data: AudioSource, limits: DecodeLimits, channels: ChannelMode) -> Recording:
        """Decode in the caller's thread, which waits for room. What is decoded is the caller's own, and not counted."""
        lease: Lease | None = None
        back = way_back(data)
        while True:
            decoder = RoomyDecoder(self.room, self._decode, lease, keep=False)
            try:
                return decoder(data, limits, channels)
            except NoRoom as short:
                needed = short.needed
            lease = self.room.awaited(needed)
            if back is not None:
                back()

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
        plan, scheduler = self.resident.plan, self.resident.scheduler
        return Bounds(self._decoders.threads, scheduler.most_tape_tokens, plan.queue_seconds, plan.decoded_megabytes)

    def steer(self, course: Course) -> None:
        """Decode, wait and run tapes like this from now on."""
        self._decoders.limit = course.decoders
        self.resident.scheduler.shape_tapes(course.tape_tokens)
        self.resident.scheduler.queue_seconds = course.queue_seconds
        self.room.allow(course.decoded_megabytes)

    def release(self) -> None:
        """Give back the memory of decoding processes that have nothing to do."""
        if self._processes is not None:
            self._processes.end_idle()

    def close(self) -> None:
        """Answer everything that was admitted, then end the threads and processes, stage by stage."""
        for _ in range(self._pending):
            self._places.acquire()  # those that wait for room would find no decoding pool any more
        self._decoders.shutdown()
        if self._processes is not None:
            self._processes.close()
        self.resident.close()
        self._finisher.shutdown()

    def _begin(self, errand: _Errand[Answer], lease: Lease | None) -> None:
        """Have a request's work done in the decoding pool, with the room it has waited for."""
        try:
            self._decoders.submit(lambda: self._hear(errand, lease))
        except RuntimeError as error:  # the pool is shut down: close() came between
            fail(errand.answer, error)
            if lease is not None:
                lease.end()

    def _hear(self, errand: _Errand[Answer], lease: Lease | None) -> None:
        decode = RoomyDecoder(
            self.room, self._decode, lease, check=lambda needed: self._check(self.resident.waiting_seconds, needed)
        )
        attempt: Pending[Answer] = Pending()
        if not errand.answer.done():
            errand.answer.follow(attempt.progress)
            errand.answer.add_done_callback(lambda answered: attempt.cancel() if answered.cancelled() else None)
            _guarded(attempt, lambda: errand.work(attempt, decode))
            attempt.add_done_callback(lambda done: self._attempted(errand, done))
        decode.close()

    def _attempted(self, errand: _Errand[Answer], attempt: Future[Answer]) -> None:
        """Make what an attempt came to the answer, unless it came to lack of room."""
        error = None if attempt.cancelled() else attempt.exception()
        if attempt.cancelled():
            errand.answer.cancel()
        elif isinstance(error, NoRoom):
            _guarded(errand.answer, partial(self._park, errand, error.needed))
        elif error is not None:
            fail(errand.answer, error)
        else:
            _settle(errand.answer, attempt.result())

    def _park(self, errand: _Errand[Answer], needed: int) -> None:
        """Let a request wait for room. Raises Overloaded where more wait than the queue has seconds for."""
        behind = self.room.waiting_seconds(needed)
        self._check(behind and behind + self.resident.waiting_seconds, needed)
        errand.answer.follow(lambda: Progress("waiting"))

        def go(outcome: Lease | EmotapeError) -> None:
            if isinstance(outcome, EmotapeError):
                fail(errand.answer, outcome)
            else:
                self._begin(errand, outcome)

        waiting = Waiting(needed, errand.deadline, go)
        self.room.wait(waiting)
        errand.answer.add_done_callback(lambda _: self.room.forget(waiting))

    def _check(self, ahead: float, needed: int) -> None:
        """Refuse, as the scheduler does, what would wait behind more seconds than may wait; the first is taken."""
        scheduler = self.resident.scheduler
        if ahead and ahead + self.room.seconds(needed) > scheduler.queue_seconds:
            retry_after = max(1.0, scheduler.seconds_for(ahead))
            raise Overloaded(retry_after=round(retry_after, 1), waiting=round(ahead))


def _warm(processes: int) -> DecodingProcesses:
    decoding = DecodingProcesses(processes)
    decoding.warm_up()
    return decoding


def _calculate_alone() -> None:
    """Keep torch in a decoding thread to that thread: the cores' teams belong to the network."""
    from emotape.model.team import multiply_alone

    multiply_alone()


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

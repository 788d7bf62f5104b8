"""Equal requests that are under way at the same time share one run.

A run belongs to all who wait for it: it goes on until the last of them has left. If it fails, that is the answer of the
caller it was begun for, and another one's turn comes.
"""

from __future__ import annotations

import threading
from concurrent.futures import InvalidStateError
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from emotape.engine.progress import Pending, Progress, fail
from emotape.errors import Expired, as_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    Start = Callable[[Pending[Any], float | None], None]

Value = TypeVar("Value")

_SLACK: Final = 1.0  # seconds; equal requests reach this point in another order than they came
_FAULTS: Final = 2  # what fails twice would fail every caller, one after the other


@dataclass(eq=False)
class Caller(Generic[Value]):
    """One who waits.

    `deliver(value, own)` makes the value of a run this caller's answer; `own` says that the run was begun for it.
    `deadline` is on the monotonic clock.
    """

    answer: Pending[Any]
    deadline: float | None
    deliver: Callable[[Value, bool], Any]


@dataclass(eq=False)
class _Run(Generic[Value]):
    key: str
    start: Start | None
    leader: Caller[Value] | None
    callers: list[Caller[Value]] = field(default_factory=list)
    work: Pending[Value] | None = None
    faults: int = 0

    def suits(self, deadline: float | None) -> bool:
        """Say whether a caller may wait for this run: it has to expire before the caller does, if it does."""
        if deadline is None:
            return True
        until = None if self.leader is None else self.leader.deadline
        return until is not None and until <= deadline + _SLACK

    def progress(self) -> Progress:
        work = self.work
        return Progress("waiting") if work is None else work.progress()

    def release(self) -> None:
        """Let go of sound and futures when all is over: its callers' futures know it as long as they live."""
        self.start, self.leader, self.work, self.callers = None, None, None, []


class SharedRuns(Generic[Value]):
    """The runs that are under way, by key. Safe to use from any thread.

    `elsewhere(task)` does a task in another thread; it is where a run is begun anew.
    """

    def __init__(self, elsewhere: Callable[[Callable[[], None]], object]) -> None:
        self._elsewhere = elsewhere
        self._lock = threading.Lock()
        self._runs: dict[str, _Run[Value]] = {}

    def join(self, key: str, caller: Caller[Value], start: Start) -> None:
        """Let `caller` wait for the run of `key`. Without one, `start(work, deadline)` begins it in this thread.

        `start` leads to a result or an error of `work`; a cancelled `work` is of no use to anybody any more.
        """
        with self._lock:
            run = self._runs.get(key)
            begins = run is None or not run.suits(caller.deadline)
            if run is None or begins:
                run = self._runs[key] = _Run(key, start, caller)
            run.callers.append(caller)
        joined = run
        caller.answer.follow(joined.progress)
        caller.answer.add_done_callback(partial(self._leave, joined))
        if begins:
            self._begin(joined)

    def _begin(self, run: _Run[Value]) -> None:
        work: Pending[Value] = Pending()
        with self._lock:
            if not run.callers:
                return  # everybody left
            run.leader, run.work = run.callers[0], work
            start, deadline = run.start, run.leader.deadline
        work.add_done_callback(partial(self._end, run))
        try:
            if start is not None:
                start(work, deadline)
        except BaseException as error:  # noqa: BLE001 - a caller without an answer would wait for ever
            fail(work, error)
        finally:
            del work, run, start  # the error knows this frame; it must not lead back to what holds the error

    def _leave(self, run: _Run[Value], answer: Future[Any]) -> None:
        """Take a caller who was answered or went away off its run; nobody needs a run without callers."""
        with self._lock:
            left = [caller for caller in run.callers if caller.answer is answer]
            if not left:
                return
            run.callers.remove(left[0])
            deserted = not run.callers
            work = run.work if deserted else None
            if deserted:
                self._forget(run)
                run.release()
        if work is not None:
            work.cancel()

    def _end(self, run: _Run[Value], work: Future[Value]) -> None:
        if work.cancelled():
            return  # everybody left
        error = work.exception()
        with self._lock:
            answered = self._answered(run, error)
            run.callers = [caller for caller in run.callers if caller not in answered]
            goes_on = bool(run.callers)
            if not goes_on:
                self._forget(run)
        for caller in sorted(answered, key=lambda caller: caller is run.leader):  # the leader gets what others copy
            _answer(caller, work, own=caller is run.leader)
        if goes_on:
            self._begin_elsewhere(run)
        else:
            run.release()

    def _answered(self, run: _Run[Value], error: BaseException | None) -> list[Caller[Value]]:
        """Return whose answer the end of a run is: everybody's, or after a first failure its leader's."""
        run.faults += error is not None and not isinstance(error, Expired)
        if error is None or run.faults >= _FAULTS:
            return run.callers
        return [caller for caller in run.callers if caller is run.leader]

    def _begin_elsewhere(self, run: _Run[Value]) -> None:
        try:
            self._elsewhere(lambda: self._begin(run))
        except RuntimeError as error:  # no more threads: everything is being closed
            with self._lock:
                abandoned = run.callers
                self._forget(run)
                run.release()
            for caller in abandoned:
                fail(caller.answer, as_fault(error))

    def _forget(self, run: _Run[Value]) -> None:
        if self._runs.get(run.key) is run:
            del self._runs[run.key]


def _answer(caller: Caller[Value], work: Future[Value], *, own: bool) -> None:
    """Give a caller what came of a run; raising it marks an error, so each caller has one of its own."""
    error = work.exception()
    if error is not None:
        fail(caller.answer, error if own else _likewise(error))
        return
    try:
        if not caller.answer.done():
            caller.answer.set_result(caller.deliver(work.result(), own))
    except InvalidStateError:
        return  # the caller left in the meantime
    except BaseException as fault:  # noqa: BLE001 - whatever was raised is the answer
        fail(caller.answer, fault)
    finally:
        del caller, work


def _likewise(error: BaseException) -> BaseException:
    again = copy(error)
    again.__cause__ = error.__cause__
    return again

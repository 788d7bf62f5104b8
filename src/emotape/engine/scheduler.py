"""Admit, pack, run, answer: the only file with threads and futures.

Requests come from any thread, each with one or more clips; runners take tapes of clips from all of them. The queue is
bounded in seconds of audio. Every admitted request gets exactly one answer: its scores, or an error that says why not.
A request's future stays pending until it is answered, so `future.cancel()` withdraws it at any time before that.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import InvalidStateError
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Protocol

from emotape.audio.waveform import SAMPLE_RATE
from emotape.engine.control.work import WorkMeter
from emotape.engine.failure import of_device, out_of_memory
from emotape.engine.progress import Pending, Progress
from emotape.engine.tape import choose
from emotape.errors import EmotapeError, EngineFault, Expired, Overloaded, as_fault
from emotape.events import (
    Admitted,
    Answered,
    DeviceFailed,
    MemoryShort,
    NotFinite,
    Observer,
    Refusal,
    TapeRan,
    silent,
    tell,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emotape.engine.progress import Stage
    from emotape.engine.runner import Clip, ClipScores, Runner


class Clock(Protocol):
    """Seconds that only go forward."""

    def __call__(self) -> float:
        """Return the present, in seconds."""


@dataclass(frozen=True, eq=False)
class RunReport:
    """The answer to a request: scores of its clips in order, and how long it waited and ran, in seconds."""

    scores: tuple[ClipScores, ...]
    queue_seconds: float
    run_seconds: float


@dataclass(eq=False)
class _Request:
    clips: tuple[Clip, ...]
    deadline: float | None
    admitted: float
    future: Pending[RunReport] = field(default_factory=Pending)
    next_clip: int = 0  # clips before it are done or on a tape
    answers: dict[int, ClipScores] = field(default_factory=dict)
    first_start: float | None = None

    @property
    def seconds(self) -> float:
        return sum(len(clip.waveform) for clip in self.clips) / SAMPLE_RATE

    def waiting_samples(self) -> int:
        return sum(len(clip.waveform) for clip in self.clips[self.next_clip :])


_Piece = tuple[_Request, int]


class Scheduler:
    """Feeds one or more runners. Threads start with the first request and end with `close`."""

    def __init__(
        self,
        runners: Sequence[Runner],
        *,
        tape_tokens: int,
        queue_seconds: float,
        clock: Clock = time.monotonic,
        observer: Observer = silent,
        fallback: Callable[[], Runner] | None = None,
    ) -> None:
        """`fallback` makes a runner, if one is ever needed, for clips that fit on none of `runners` or break there."""
        self._runners = tuple(runners)
        self._dims = runners[0].dims
        self._most_tape_tokens = self._tape_tokens = tape_tokens
        self.queue_seconds = queue_seconds
        self._clock = clock
        self._observer = observer
        self._fallback = fallback
        self._fallback_runner: Runner | None = None
        self._failed: set[str] = set()
        self._fallback_lock = threading.Lock()
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._waiting_samples = 0
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._pace = 0.0  # seconds of work per second of audio, as last measured; for the retry hint
        self.work = WorkMeter(clock)

    def submit(self, clips: Sequence[Clip], deadline: float | None = None) -> Pending[RunReport]:
        """Admit the clips of one recording; `deadline` is a time of this scheduler's clock.

        Raises Overloaded when the queue is full (a request is always admitted to an empty queue, however long), and
        EngineFault `closed` after `close`.
        """
        request = _Request(tuple(clips), deadline, self._clock())
        request.future.follow(lambda: self._progress(request))
        with self._changed:
            if self._closed:
                raise EngineFault("closed")
            if self._waiting and self.waiting_seconds + request.seconds > self.queue_seconds:
                self._refuse(request.seconds)
            self._waiting.append(request)
            self._waiting_samples += request.waiting_samples()
            queued = self.waiting_seconds
            self._start_threads()
            self._changed.notify()
        tell(self._observer, Admitted(request.seconds, queued))
        return request.future

    def close(self, *, drain: bool = True) -> None:
        """Take nothing more; answer what waits (or fail it, without `drain`) and end the threads."""
        with self._changed:
            self._closed = True
            abandoned = [] if drain else list(self._waiting)
            self._changed.notify_all()
        for request in abandoned:
            self._fail(request, EngineFault("closed"))
        for thread in self._threads:
            thread.join()

    @property
    def waiting_seconds(self) -> float:
        """Seconds of audio that wait for a runner."""
        return self._waiting_samples / SAMPLE_RATE

    @property
    def runners(self) -> int:
        """How many tapes may run at once."""
        return len(self._runners)

    @property
    def backlog_seconds(self) -> float:
        """Seconds that the runners, all at work, need for what waits, as fast as the last tape was."""
        return self.seconds_for(self.waiting_seconds)

    def seconds_for(self, audio_seconds: float) -> float:
        """Return the seconds that the runners, all at work, need for so much audio, as fast as the last tape was."""
        return audio_seconds * self._pace / len(self._runners)

    @property
    def most_tape_tokens(self) -> int:
        """The longest tape that the runners have had memory for, as far as is known."""
        return self._most_tape_tokens

    def shape_tapes(self, tokens: int) -> None:
        """Lay at most so many tokens on a tape from now on, and never more than the runners have memory for."""
        with self._changed:
            self._tape_tokens = max(1, min(tokens, self._most_tape_tokens))

    def _progress(self, request: _Request) -> Progress:
        with self._changed:
            before = takewhile(lambda other: other is not request, self._waiting if request in self._waiting else ())
            ahead = sum(other.waiting_samples() for other in before) / SAMPLE_RATE
        stage: Stage = "queued" if request.first_start is None else "running"
        return Progress(stage, ahead, len(request.clips), len(request.answers))

    def _refuse(self, seconds: float) -> None:
        tell(self._observer, Refusal("overloaded", seconds))
        retry_after = max(1.0, self.backlog_seconds)
        raise Overloaded(retry_after=round(retry_after, 1), waiting=round(self.waiting_seconds))

    def _start_threads(self) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(target=self._serve, args=(runner,), name=f"emotape-{runner.device}", daemon=True)
                for runner in self._runners
            ]
            for thread in self._threads:
                thread.start()

    def _serve(self, runner: Runner) -> None:
        try:
            while (pieces := self._next_tape()) is not None:
                if pieces:
                    self._run(runner, pieces)
                del pieces  # while this thread waits, it must not keep the last sound in memory
        except BaseException as error:  # noqa: BLE001 - a fault of our own must not leave callers waiting for ever
            self._give_up(as_fault(error))

    def _give_up(self, error: EmotapeError) -> None:
        with self._changed:
            self._closed = True
            abandoned = list(self._waiting)
            self._changed.notify_all()
        for request in abandoned:
            self._fail(request, error)

    def _next_tape(self) -> list[_Piece] | None:
        """Wait for work; return the next tape's clips, or None when there will be no more."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            late = self._drop_late_and_gone()
            pieces = self._take()
            done = self._closed and not self._waiting and not pieces and not late
        for request in late:
            self._fail(request, Expired("expired", deadline=request.deadline))
        return None if done else pieces

    def _take(self) -> list[_Piece]:
        """Take the next tape's clips off the queue. More callers than could fit are not looked at."""
        callers = list(islice(self._waiting, 1 + self._tape_tokens // (self._dims.extra_tokens + 1)))
        counts = choose([self._tokens(request) for request in callers], self._tape_tokens)
        pieces: list[_Piece] = []
        for request, count in zip(callers, counts, strict=True):
            if count and request.first_start is None:
                request.first_start = self._clock()
            indices = range(request.next_clip, request.next_clip + count)
            pieces += [(request, index) for index in indices]
            self._waiting_samples -= sum(len(request.clips[index].waveform) for index in indices)
            request.next_clip += count
            if request.next_clip == len(request.clips):
                self._waiting.remove(request)
        return pieces

    def _tokens(self, request: _Request) -> list[int]:
        return [self._clip_tokens(clip) for clip in request.clips[request.next_clip :]]

    def _clip_tokens(self, clip: Clip) -> int:
        return self._dims.frames(len(clip.waveform)) + self._dims.extra_tokens

    def _drop_late_and_gone(self) -> list[_Request]:
        """Take those off the queue whose caller left or whose deadline passed; return the latter."""
        now = self._clock()
        gone = [request for request in self._waiting if request.future.done()]
        late = [
            request
            for request in self._waiting
            if request.deadline is not None and request.deadline < now and not request.future.done()
        ]
        for request in gone + late:
            self._forget(request)
        return late

    def _forget(self, request: _Request) -> None:
        self._waiting.remove(request)
        self._waiting_samples -= request.waiting_samples()

    def _run(self, runner: Runner, pieces: list[_Piece]) -> None:
        started = self._clock()
        try:
            with self.work.tape():
                answers = runner.run([request.clips[index] for request, index in pieces])
        except BaseException as error:  # noqa: BLE001 - whatever happens, every request gets an answer
            self._recover(runner, pieces, error)
            return
        self._note_run(runner, pieces, self._clock() - started)
        broken = []
        for (request, index), scores in zip(pieces, answers, strict=True):
            if not scores.is_finite:
                broken.append((request, index))
                continue
            request.answers[index] = scores
            if len(request.answers) == len(request.clips):
                self._answer(request)
        if broken:
            tell(self._observer, NotFinite(runner.device, len(broken)))
        for piece in broken:
            self._run_elsewhere(runner, piece, EngineFault("not_finite", device=runner.device))

    def _recover(self, runner: Runner, pieces: list[_Piece], error: BaseException) -> None:
        """Try the clips of a failed tape in two halves, until only the clip that is to blame is left.

        If memory ran out, tapes stay shorter from now on, and a clip that does not fit alone runs on the fallback. So
        does one with which the device itself fails: what it did wrong once, it may answer everything with from then on.
        """
        short = out_of_memory(error)
        if short:
            self._shorten(runner, pieces)
        if len(pieces) > 1:
            middle = len(pieces) // 2
            self._run(runner, pieces[:middle])
            self._run(runner, pieces[middle:])
        elif short or of_device(error):
            if not short:
                self._tell_failed(runner, error)
            self._run_elsewhere(runner, pieces[0], error)
        else:
            self._fail(pieces[0][0], as_fault(error))

    def _shorten(self, runner: Runner, pieces: Sequence[_Piece]) -> None:
        tokens = sum(self._clip_tokens(request.clips[index]) for request, index in pieces)
        with self._changed:
            self._most_tape_tokens = max(1, min(self._most_tape_tokens, tokens // 2))
            self._tape_tokens = min(self._tape_tokens, self._most_tape_tokens)
        tell(self._observer, MemoryShort(runner.device, self._tape_tokens))

    def _tell_failed(self, runner: Runner, error: BaseException) -> None:
        """Tell once that a device failed: it may fail with every clip from now on."""
        with self._changed:
            is_known = runner.device in self._failed
            self._failed.add(runner.device)
        if not is_known:
            tell(self._observer, DeviceFailed(runner.device, str(error).splitlines()[0]))

    def _run_elsewhere(self, runner: Runner, piece: _Piece, error: BaseException) -> None:
        """Run a clip that `runner` failed with on the fallback; where there is none, the error is the answer."""
        if self._fallback is None or runner is self._fallback_runner:
            self._fail(piece[0], as_fault(error))
            return
        with self._fallback_lock:
            try:
                self._fallback_runner = self._fallback_runner or self._fallback()
            except BaseException:  # noqa: BLE001 - then the first error is the one to tell
                self._fail(piece[0], as_fault(error))
                return
            self._run(self._fallback_runner, [piece])

    def _note_run(self, runner: Runner, pieces: Sequence[_Piece], seconds: float) -> None:
        waveforms = [request.clips[index].waveform for request, index in pieces]
        audio_seconds = sum(waveform.seconds for waveform in waveforms)
        tokens = sum(self._clip_tokens(request.clips[index]) for request, index in pieces)
        self._pace = seconds / audio_seconds
        self.work.ran(tokens, seconds)
        capacity = max(self._tape_tokens, tokens)  # a clip longer than a tape has one of its own
        tell(self._observer, TapeRan(len(pieces), tokens, capacity, audio_seconds, seconds, runner.device))

    def _answer(self, request: _Request) -> None:
        now = self._clock()
        started = request.first_start if request.first_start is not None else now
        scores = tuple(request.answers[index] for index in range(len(request.clips)))
        report = RunReport(scores, started - request.admitted, now - started)
        if _once(lambda: request.future.set_result(report)):
            tell(self._observer, Answered(request.seconds, report.queue_seconds, now - request.admitted))

    def _fail(self, request: _Request, error: EmotapeError) -> None:
        with self._changed:
            if request in self._waiting:
                self._forget(request)
        if _once(lambda: request.future.set_exception(error)):
            tell(self._observer, Refusal(error.code, request.seconds))


def _once(answer: Callable[[], None]) -> bool:
    """Answer a future unless it has its answer or its caller left; say whether it was answered now."""
    try:
        answer()
    except InvalidStateError:
        return False
    return True

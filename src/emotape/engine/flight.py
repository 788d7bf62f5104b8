"""Many recordings under way through one recognizer: never too few for it, never more than it has room for."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from emotape.errors import EmotapeError, Overloaded, as_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from emotape.engine.plan import Plan
    from emotape.engine.result import Prediction

Question = TypeVar("Question")

LARGE: Final = 8 * 1024**2  # bytes; files beyond it can hold hours, so few of them are in memory at a time

_SHORT: Final = 1.0  # seconds of a short recording: tapes are full of them even so
_MOST: Final = 768  # recordings under way, fewer than a recognizer takes
_LARGE_BYTES: Final = 2 * 1024**3  # of samples, the most that a large recording may become
_LARGE_SHARE: Final = 0.25  # of the memory, for large recordings


class Queue(Protocol):
    """What is known of the queue that recordings go to."""

    @property
    def waiting_seconds(self) -> float:
        """Seconds of audio that wait for a device."""

    @property
    def queue_seconds(self) -> float | None:
        """Seconds of audio that may wait."""


@dataclass(frozen=True)
class Room:
    """How many recordings may be under way at once, and how many large ones among them."""

    recordings: int
    large: int


def room_for(plan: Plan, memory: int | None) -> Room:
    """Return what keeps the engine of `plan` at work: each decoder busy, and two tapes of short clips waiting.

    A large file can hold hours, so there are no more of them than fit into a quarter of the `memory`, in bytes.
    """
    decoders = max(plan.decode_threads, plan.decode_processes)
    tapes = 2 * plan.replicas * len(plan.devices)
    recordings = 2 * decoders + int(tapes * plan.tape_tokens / (50 * _SHORT))
    large = 1 if memory is None else int(_LARGE_SHARE * memory / _LARGE_BYTES)
    return Room(max(8, min(_MOST, recordings)), max(1, min(decoders, large)))


class Flight(Generic[Question]):
    """The recordings that are under way, drawn one by one from `questions`: what is asked, and its sound.

    An error in place of the sound is its own answer. `submit` queues a sound and may raise Overloaded: then the
    recording comes again when another has made room.
    """

    def __init__(
        self,
        submit: Callable[[Any], Future[Prediction]],
        queue: Queue,
        room: Room,
        questions: Iterable[tuple[Question, object]],
    ) -> None:
        self._submit = submit
        self._queue = queue
        self._room = room
        self._questions = iter(questions)
        self._again: deque[_Weighed[Question]] = deque()  # refused because the queue was full
        self._held: _Weighed[Question] | None = None  # a large one that waits for another to end
        self._full = False
        self._under_way: dict[Future[Prediction], _Weighed[Question]] = {}
        self._large = 0
        self._done: SimpleQueue[Future[Prediction] | tuple[Question, EmotapeError]] = SimpleQueue()
        self._errors = 0  # in `_done` beside futures

    def fill(self, kept: int = 0) -> bool:
        """Submit what there is room for; return whether there is anything to wait for.

        `kept` recordings that have landed take up room as if they were under way.
        """
        while self._has_room(kept) and (weighed := self._next()) is not None:
            self._start(weighed)
        return bool(self._under_way or self._errors)

    def landed(self, most: int) -> Iterator[tuple[Question, Prediction | EmotapeError]]:
        """Wait until something is done, and yield all that is, at most so many."""
        found = self._done.get()
        for _ in range(most):
            landed = self._taken(found)
            if landed is not None:
                yield landed
            try:
                found = self._done.get_nowait()
            except Empty:
                return
        self._done.put(found)

    def cancel(self) -> None:
        """Withdraw everything."""
        for future in tuple(self._under_way):
            future.cancel()

    def _has_room(self, kept: int) -> bool:
        if not self._under_way:
            return True
        if self._full or len(self._under_way) + kept >= self._room.recordings:
            return False
        allowed = self._queue.queue_seconds
        return allowed is None or self._queue.waiting_seconds < allowed / 2

    def _next(self) -> _Weighed[Question] | None:
        """Return the next recording, or None while a large one waits or when there are no more."""
        if self._again:
            return self._again.popleft()
        weighed, self._held = self._held or self._drawn(), None
        if weighed is not None and weighed.is_large and self._large >= self._room.large:
            self._held, weighed = weighed, None
        return weighed

    def _drawn(self) -> _Weighed[Question] | None:
        drawn = next(self._questions, None)
        return None if drawn is None else _Weighed(*drawn, _size(drawn[1]) >= LARGE)

    def _start(self, weighed: _Weighed[Question]) -> None:
        if isinstance(weighed.sound, EmotapeError):
            self._fail(weighed, weighed.sound)
            return
        try:
            future = self._submit(weighed.sound)
        except Overloaded as refusal:
            self._refused(weighed, refusal)
            return
        self._under_way[future] = weighed
        self._large += weighed.is_large
        future.add_done_callback(self._done.put)

    def _taken(
        self, found: Future[Prediction] | tuple[Question, EmotapeError]
    ) -> tuple[Question, Prediction | EmotapeError] | None:
        """Return a recording with its outcome; None for one that will be tried again."""
        if isinstance(found, tuple):
            self._errors -= 1
            return found
        weighed = self._under_way.pop(found)
        self._large -= weighed.is_large
        self._full = False
        error = found.exception()
        if isinstance(error, Overloaded):
            self._refused(weighed, error)
            return None
        return weighed.question, found.result() if error is None else as_fault(error)

    def _refused(self, weighed: _Weighed[Question], refusal: Overloaded) -> None:
        """Try again when another has made room; with none under way, it is the recording that does not fit."""
        if self._under_way:
            self._full = True
            self._again.append(weighed)
        else:
            self._fail(weighed, refusal)

    def _fail(self, weighed: _Weighed[Question], error: EmotapeError) -> None:
        self._errors += 1
        self._done.put((weighed.question, error))


def in_order(
    submit: Callable[[Any], Future[Prediction]], queue: Queue, room: Room, questions: Iterable[tuple[Question, object]]
) -> Iterator[tuple[Question, Prediction | EmotapeError]]:
    """Yield every question with its outcome, in the order of the questions; ending early withdraws the others."""
    numbered = ((place, question) for place, question in enumerate(questions))
    flight = Flight(submit, queue, room, (((place, asked), sound) for place, (asked, sound) in numbered))
    early: dict[int, tuple[Question, Prediction | EmotapeError]] = {}
    turn = 0
    try:
        while flight.fill(len(early)):
            for (place, question), outcome in flight.landed(1):
                early[place] = question, outcome
            while turn in early:
                yield early.pop(turn)
                turn += 1
    finally:
        flight.cancel()


@dataclass(frozen=True)
class _Weighed(Generic[Question]):
    """A recording, and whether it may hold hours."""

    question: Question
    sound: object
    is_large: bool


def _size(sound: object) -> int:
    """Return the bytes of a recording; 0 where there is none: decoding will say what is wrong with it."""
    if isinstance(sound, bytes | bytearray | memoryview):
        return len(sound)
    if not isinstance(sound, str | os.PathLike):
        return 0
    try:
        return os.stat(sound).st_size  # noqa: PTH116 - also for names that are no text
    except (OSError, ValueError):
        return 0

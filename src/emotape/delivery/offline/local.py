"""Answers from the engine of this machine, which is never left without work nor given more than it has room for."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol

from emotape.delivery.batch import LARGE
from emotape.delivery.offline.rows import answer_row, failure_row
from emotape.errors import EmotapeError, EngineFault, Overloaded, as_fault
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from emotape.delivery.offline.item import Item
    from emotape.delivery.offline.rows import Asked, Row
    from emotape.engine.plan import Plan
    from emotape.engine.result import Granularity, Prediction
    from emotape.recognizer import Recognizer
    from emotape.wording import Language

_SHORT: Final = 1.0  # seconds of a short recording: tapes are full of them even so
_MOST: Final = 768  # recordings under way, fewer than a recognizer takes
_LARGE_BYTES: Final = 2 * 1024**3  # of samples, the most that a large recording may become
_LARGE_SHARE: Final = 0.25  # of the memory, for large recordings
_FAULTS: Final = 20  # of the engine in a row; then it is the engine, not the recordings


class Answering(Protocol):
    """What a batch needs of a recognizer."""

    def submit(self, source: Any, *, granularity: Granularity, embedding: bool, quality: bool) -> Future[Prediction]:
        """Queue a recording; the future can be cancelled."""

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


def arithmetic_of(recognizer: Recognizer) -> dict[str, str]:
    """Return what calculates, as the rows of its answers say it. Loads the model."""
    return {
        "model": recognizer.model.name,
        "model_digest": recognizer.digest,
        "dtype": recognizer.plan.arithmetic,
        "version": __version__,
    }


def local_engine(recognizer: Recognizer, asked: Asked, language: Language) -> LocalEngine:
    """Return the engine of this machine, with as many recordings under way as it has room for. Loads the model."""
    from emotape.engine.machine import look_at_machine

    return LocalEngine(recognizer, asked, language, room_for(recognizer.plan, look_at_machine().memory))


class LocalEngine:
    """Answers recordings in whatever order they are done. `language` is that of the errors' texts."""

    def __init__(self, recognizer: Answering, asked: Asked, language: Language, room: Room) -> None:
        self._recognizer = recognizer
        self._asked = asked
        self._language = language
        self._room = room

    def rows(self, items: Iterable[Item], at_once: int) -> Iterator[list[Row]]:
        """Yield the rows of the recordings that are done by now, at most so many at once; one for each item.

        Ending early withdraws what is under way. Raises EngineFault when the engine fails again and again.
        """
        flight = _Flight(self._recognizer, self._asked, self._room, iter(items))
        try:
            while flight.fill():
                yield [self._row(*done) for done in flight.landed(at_once)]
        finally:
            flight.cancel()

    def _row(self, item: Item, outcome: Prediction | EmotapeError) -> Row:
        if isinstance(outcome, EmotapeError):
            return failure_row(item, outcome, self._asked, self._language)
        return answer_row(item, outcome, self._asked)


class _Flight:
    """The recordings that are under way."""

    def __init__(self, recognizer: Answering, asked: Asked, room: Room, items: Iterator[Item]) -> None:
        self._recognizer = recognizer
        self._wanted: Any = {
            "granularity": asked.granularity,
            "embedding": asked.embedding,
            "quality": asked.quality,
        }
        self._room = room
        self._items = items
        self._again: deque[_Weighed] = deque()  # refused because the queue was full
        self._held: _Weighed | None = None  # a large one that waits for another to end
        self._full = False
        self._under_way: dict[Future[Prediction], _Weighed] = {}
        self._large = 0
        self._done: SimpleQueue[Future[Prediction] | tuple[Item, EmotapeError]] = SimpleQueue()
        self._errors = 0  # in `_done` beside futures
        self._faults = 0

    def fill(self) -> bool:
        """Submit what there is room for; return whether there is anything to wait for."""
        while self._has_room() and (weighed := self._next()) is not None:
            self._submit(weighed)
        return bool(self._under_way or self._errors)

    def landed(self, most: int) -> Iterator[tuple[Item, Prediction | EmotapeError]]:
        """Wait until something is done, and yield all that is."""
        found = self._done.get()
        for _ in range(most):
            landed = self._taken(found)
            if landed is not None:
                self._judge(landed[1])
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

    def _has_room(self) -> bool:
        if not self._under_way:
            return True
        if self._full or len(self._under_way) >= self._room.recordings:
            return False
        allowed = self._recognizer.queue_seconds
        return allowed is None or self._recognizer.waiting_seconds < allowed / 2

    def _next(self) -> _Weighed | None:
        """Return the next recording, or None while a large one waits or when there are no more."""
        if self._again:
            return self._again.popleft()
        weighed, self._held = self._held or _weighed(self._items), None
        if weighed is not None and weighed.is_large and self._large >= self._room.large:
            self._held, weighed = weighed, None
        return weighed

    def _submit(self, weighed: _Weighed) -> None:
        source = weighed.item.source
        if isinstance(source, EmotapeError):
            self._fail(weighed.item, source)
            return
        try:
            future = self._recognizer.submit(source, **self._wanted)
        except Overloaded as refusal:
            self._refused(weighed, refusal)
            return
        self._under_way[future] = weighed
        self._large += weighed.is_large
        future.add_done_callback(self._done.put)

    def _taken(
        self, found: Future[Prediction] | tuple[Item, EmotapeError]
    ) -> tuple[Item, Prediction | EmotapeError] | None:
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
        return weighed.item, found.result() if error is None else as_fault(error)

    def _refused(self, weighed: _Weighed, refusal: Overloaded) -> None:
        """Try again when another has made room; with none under way, it is the recording that does not fit."""
        if self._under_way:
            self._full = True
            self._again.append(weighed)
        else:
            self._fail(weighed.item, refusal)

    def _fail(self, item: Item, error: EmotapeError) -> None:
        self._errors += 1
        self._done.put((item, error))

    def _judge(self, outcome: Prediction | EmotapeError) -> None:
        """End the run when the engine answers nothing any more: each recording left would only become an error."""
        if not isinstance(outcome, EmotapeError):
            self._faults = 0
        elif isinstance(outcome, EngineFault):
            self._faults += 1
            if self._faults >= _FAULTS:
                raise outcome


@dataclass(frozen=True)
class _Weighed:
    """A recording, and whether it may hold hours."""

    item: Item
    is_large: bool


def _weighed(items: Iterator[Item]) -> _Weighed | None:
    item = next(items, None)
    return None if item is None else _Weighed(item, _size(item) >= LARGE)


def _size(item: Item) -> int:
    """Return the bytes of a recording; 0 where there is none: decoding will say what is wrong with it."""
    if not isinstance(item.source, Path):
        return len(item.source) if isinstance(item.source, bytes) else 0
    try:
        return os.stat(item.source).st_size  # noqa: PTH116 - also for names that are no text
    except (OSError, ValueError):
        return 0

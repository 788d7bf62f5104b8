"""Recordings under way: answered in order, each once, and never more at a time than there is room for."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from emotape.engine.flight import Room, in_order
from emotape.errors import BadAudio, Overloaded
from tests.delivery.fakes import make_prediction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.engine.result import Prediction

UNREADABLE = BadAudio("empty_file")


class Engine:
    """Answers on a thread, in a random order, and refuses while `room` recordings are under way."""

    queue_seconds = 1.0

    def __init__(self, room: int, backlog: float, chance: random.Random) -> None:
        self.waiting_seconds = backlog
        self.most = self.asked = 0
        self.waiting: list[tuple[bytes, Future[Prediction]]] = []
        self._room = room
        self._chance = chance
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1)

    def submit(self, sound: bytes) -> Future[Prediction]:
        """Queue a recording; an empty one is found to be unreadable."""
        future: Future[Prediction] = Future()
        with self._lock:
            self.asked += 1
            if len(self.waiting) >= self._room:
                raise Overloaded(retry_after=1.0, waiting=1)
            self.waiting.append((sound, future))
            self.most = max(self.most, len(self.waiting))
        self._thread.submit(self._answer_one)
        return future

    def _answer_one(self) -> None:
        with self._lock:
            sound, future = self.waiting.pop(self._chance.randrange(len(self.waiting)))
        if sound:
            future.set_result(make_prediction(seconds=float(len(sound))))
        else:
            future.set_exception(UNREADABLE)


@given(
    st.integers(1, 5),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.9]),
    st.lists(st.integers(0, 4), max_size=30),
    st.integers(0, 2**32),
)
def test_every_question_gets_its_own_outcome_in_its_turn(
    room: int, under_way: int, backlog: float, lengths: list[int], seed: int
) -> None:
    """Whichever the engine is done with first, whatever it refuses for now, and whatever cannot be read."""
    engine = Engine(room, backlog, random.Random(seed))
    questions: list[tuple[int, Any]] = [(place, bytes(length)) for place, length in enumerate(lengths)]
    found = list(in_order(engine.submit, engine, Room(under_way, 1), questions))
    assert [place for place, _ in found] == list(range(len(lengths)))
    said = [outcome if isinstance(outcome, BadAudio) else outcome.seconds for _, outcome in found]  # type: ignore[union-attr]
    assert said == [float(length) if length else UNREADABLE for length in lengths]
    assert engine.most <= min(room, under_way if backlog == 0.0 else 1)
    assert engine.asked <= 2 * len(lengths)  # who was refused comes again when another has landed, not at once


def test_one_that_takes_long_holds_up_the_reading_and_not_the_memory() -> None:
    """While the first is under way, no more are read than there is room for, done ones among them."""
    first: Future[Prediction] = Future()
    read = []

    def questions() -> Iterator[tuple[int, int]]:
        for place in range(100):
            read.append(place)
            yield place, place

    def submit(place: int) -> Future[Prediction]:
        if place == 0:
            return first
        done: Future[Prediction] = Future()
        done.set_result(make_prediction())
        if place == 3:  # the last for which there is room
            first.set_result(make_prediction())
        return done

    engine = Engine(1, 0.0, random.Random(0))
    found = in_order(submit, engine, Room(4, 1), questions())
    assert next(found)[0] == 0
    assert len(read) <= 5
    assert [place for place, _ in found] == list(range(1, 100))


def test_leaving_withdraws_the_others() -> None:
    engine = Engine(4, 0.0, random.Random(0))
    under_way: list[Future[Prediction]] = []

    def submit(place: int) -> Future[Prediction]:
        under_way.append(Future())
        if place == 0:
            under_way[0].set_result(make_prediction())
        return under_way[-1]

    found = in_order(submit, engine, Room(4, 1), ((place, place) for place in range(100)))
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert [future.cancelled() for future in under_way] == [False] + [True] * (len(under_way) - 1)
    assert len(under_way) > 1

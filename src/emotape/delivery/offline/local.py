"""Answers from the engine of this machine, which is never left without work nor given more than it has room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from emotape.delivery.offline.rows import answer_row, failure_row
from emotape.engine.flight import Flight, Queue, Room, room_for
from emotape.errors import EmotapeError, EngineFault
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from emotape.delivery.offline.item import Item
    from emotape.delivery.offline.rows import Asked, Row
    from emotape.engine.result import Granularity, Prediction
    from emotape.recognizer import Recognizer
    from emotape.wording import Language

_FAULTS: Final = 20  # of the engine in a row; then it is the engine, not the recordings


class Answering(Queue, Protocol):
    """What a batch needs of a recognizer."""

    def submit(self, source: Any, *, granularity: Granularity, embedding: bool, quality: bool) -> Future[Prediction]:
        """Queue a recording; the future can be cancelled."""


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
        flight = Flight(self._submit, self._recognizer, self._room, ((item, item.source) for item in items))
        faults = 0
        try:
            while flight.fill():
                found = list(flight.landed(at_once))
                for _, outcome in found:
                    faults = _faults(faults, outcome)
                yield [self._row(*done) for done in found]
        finally:
            flight.cancel()

    def _submit(self, sound: Any) -> Future[Prediction]:
        asked = self._asked
        return self._recognizer.submit(
            sound, granularity=asked.granularity, embedding=asked.embedding, quality=asked.quality
        )

    def _row(self, item: Item, outcome: Prediction | EmotapeError) -> Row:
        if isinstance(outcome, EmotapeError):
            return failure_row(item, outcome, self._asked, self._language)
        return answer_row(item, outcome, self._asked)


def _faults(before: int, outcome: Prediction | EmotapeError) -> int:
    """Return how many faults of the engine there are in a row by now. With the last that is borne, raise it.

    An engine that answers nothing any more would only make an error of each recording that is left.
    """
    if not isinstance(outcome, EmotapeError):
        return 0
    faults = before + isinstance(outcome, EngineFault)
    if faults >= _FAULTS:
        raise outcome
    return faults

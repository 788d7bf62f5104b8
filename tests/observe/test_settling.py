"""Every request to a recognizer is told of once, with its stages, in the context of whoever made it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest

from emotape.errors import BadAudio, EngineFault
from emotape.events import Event, Settled, TapeRan, fan_out, tell
from emotape.recognizer import Recognizer, RecognizerOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[Recognizer, list[tuple[Event, str]]]]:
    events: list[tuple[Event, str]] = []
    with Recognizer(observer=lambda event: events.append((event, WHO.get()))) as recognizer:
        yield recognizer, events


def settled(events: list[tuple[Event, str]]) -> list[tuple[Settled, str]]:
    found = [(event, who) for event, who in events if isinstance(event, Settled)]
    events.clear()
    return found


def test_an_answer_is_told_with_stages_that_add_up(
    told: tuple[Recognizer, list[tuple[Event, str]]], speech: bytes
) -> None:
    recognizer, events = told
    prediction = recognizer.recognize(speech)
    ((event, _),) = settled(events)
    assert (event.code, event.fault, event.audio_seconds) == (None, None, prediction.seconds)
    assert set(event.stages) == {"wait", "decode", "window", "queue", "run", "finish"}
    assert all(seconds >= 0 for seconds in event.stages.values())
    assert sum(event.stages.values()) == pytest.approx(event.seconds)


def test_a_request_with_several_channels_is_one(
    told: tuple[Recognizer, list[tuple[Event, str]]], speech: bytes
) -> None:
    recognizer, events = told
    predictions = recognizer.recognize_channels(speech)
    ((event, _),) = settled(events)
    assert event.audio_seconds == sum(prediction.seconds for prediction in predictions)


def test_an_error_is_told_with_its_code_and_whose_fault_it_is(
    told: tuple[Recognizer, list[tuple[Event, str]]],
) -> None:
    recognizer, events = told
    with pytest.raises(BadAudio) as caught:
        recognizer.recognize(b"no audio at all, only words")
    ((event, _),) = settled(events)
    assert (event.code, event.fault, event.audio_seconds) == (caught.value.code, "caller", 0.0)
    assert set(event.stages) == {"wait"}


def test_it_is_told_in_the_context_of_the_caller(
    told: tuple[Recognizer, list[tuple[Event, str]]], speech: bytes
) -> None:
    """Whatever thread answers."""
    recognizer, events = told
    token = WHO.set("me")
    mine = recognizer.submit(speech)
    WHO.reset(token)
    theirs = recognizer.submit(speech)
    for future in (mine, theirs):
        future.result(timeout=60)
    assert sorted(who for _, who in settled(events)) == ["me", "nobody"]


def test_one_that_is_refused_at_the_door_is_told_too(speech: bytes) -> None:
    events: list[Event] = []
    recognizer = Recognizer(options=RecognizerOptions(pending=1), observer=events.append)
    with recognizer:
        recognizer.recognize(speech)
    with pytest.raises(EngineFault):
        recognizer.recognize(speech)  # closed: it never became a request
    assert [event.code for event in events if isinstance(event, Settled)] == [None]
    (tape,) = (event for event in events if isinstance(event, TapeRan))
    assert 0 < tape.tokens <= tape.capacity


def test_an_observer_that_fails_keeps_nothing_from_the_others() -> None:
    heard: list[Event] = []

    def broken(event: Event, /) -> None:
        raise RuntimeError("a bug")

    event = Settled(1.0, {})
    tell(fan_out(broken, heard.append), event)
    assert heard == [event]

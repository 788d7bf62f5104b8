"""How a request's futures follow one another: a value, an error and a withdrawal each reach the other end."""

from __future__ import annotations

import pytest

from emotape.engine.pipeline import attempted, first, relay, waited
from emotape.engine.progress import Pending, Progress
from emotape.errors import BadAudio, Cancelled, EngineFault, Overloaded


def test_a_value_and_an_error_reach_who_waits() -> None:
    inner, outer = Pending[int](), Pending[str]()
    relay(inner, outer, str)
    inner.follow(lambda: Progress("running"))
    assert outer.progress().stage == "running"
    inner.set_result(7)
    assert waited(outer) == "7"
    broken, told = Pending[int](), Pending[str]()
    relay(broken, told, str)
    broken.set_exception(BadAudio("empty_file"))
    with pytest.raises(BadAudio):
        waited(told)


def test_what_cannot_be_taken_is_an_error_and_nobody_waits_for_ever() -> None:
    inner = Pending[tuple[int, ...]]()
    outer = first(inner)
    inner.set_result(())
    assert isinstance(outer.exception(timeout=0), EngineFault)


def test_cancelling_either_cancels_both() -> None:
    for number in (0, 1):
        inner = Pending[tuple[int, ...]]()
        ends = inner, first(inner)
        assert ends[number].cancel()
        assert inner.cancelled()
        with pytest.raises(Cancelled):
            waited(ends[1])


def test_what_is_refused_at_the_door_is_the_answer() -> None:
    def refuse() -> Pending[int]:
        raise Overloaded(retry_after=1.0, waiting=1)

    answer = Pending[int]()
    attempted(answer, refuse)
    assert isinstance(answer.exception(timeout=0), Overloaded)


def test_who_is_interrupted_while_waiting_withdraws_the_request() -> None:
    class Interrupted(Pending[int]):
        def result(self, timeout: float | None = None) -> int:
            raise KeyboardInterrupt(timeout)

    answer = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        waited(answer)
    assert answer.cancelled()

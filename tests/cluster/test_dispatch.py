"""Each request gets exactly one answer, whatever becomes of the replicas that work on it."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from emotape.delivery.cluster.calls import Lost
from emotape.delivery.cluster.dispatch import SMALL, Dispatch, DispatchOptions, Errand
from emotape.delivery.cluster.messages import Question
from emotape.engine.progress import Pending
from emotape.engine.wanted import Wanted
from emotape.errors import BadAudio, EngineFault, Expired, NotReady, Overloaded
from tests.cluster.fakes import FakeEngines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emotape.delivery.cluster.messages import Load

WAIT = 30.0


def answers_of(*errands: Errand) -> list[Any]:
    """Return what came of errands."""
    return [errand.answer.result(WAIT) for errand in errands]


@contextmanager
def dispatching(engines: FakeEngines, **options: int) -> Iterator[Dispatch]:
    dispatch = Dispatch(engines, DispatchOptions(**options))
    try:
        yield dispatch
    finally:
        dispatch.close()


def errand(content: bytes, deadline: float | None = None, model: str = "", size: int | None = None) -> Errand:
    wanted = Wanted("utterance", embedding=False, quality=False)
    answer: Pending[Any] = Pending()
    return Errand(model, Question(wanted, "mix", None, content), answer, deadline, size or len(content))


def lost(_: Sequence[Question]) -> tuple[Any, ...]:
    raise Lost("ActorDiedError: gone")


def test_a_question_gets_its_own_answer() -> None:
    errands = [errand(str(number).encode()) for number in range(50)]
    with dispatching(FakeEngines()) as dispatch:
        for each in errands:
            dispatch.send(each)
        assert answers_of(*errands) == [(str(number).encode(),) for number in range(50)]


async def _gate() -> asyncio.Event:
    return asyncio.Event()


def test_what_comes_while_others_are_under_way_is_asked_together() -> None:
    engines = FakeEngines()
    with dispatching(engines, together=4) as dispatch:
        gate = engines.gate = dispatch.run(_gate())
        first = errand(b"0")
        dispatch.send(first)
        rest = [errand(b"%d" % number) for number in range(1, 9)]
        for each in rest:
            dispatch.send(each)
        dispatch.run(_opened(gate))
        for each in (first, *rest):
            each.answer.result(WAIT)
    assert sorted(map(len, engines.calls)) == [1, 4, 4]


async def _opened(gate: asyncio.Event) -> None:
    gate.set()


def test_a_large_recording_goes_alone_and_models_never_mix() -> None:
    engines = FakeEngines()
    with dispatching(engines) as dispatch:
        gate = engines.gate = dispatch.run(_gate())
        errands = [errand(b"0"), errand(b"1", size=SMALL + 1), errand(b"2"), errand(b"3", model="other"), errand(b"4")]
        for each in errands:
            dispatch.send(each)
        dispatch.run(_opened(gate))
        for each in errands:
            each.answer.result(WAIT)
    assert sorted(engines.calls) == [[b"0"], [b"1"], [b"2", b"4"], [b"3"]]


def test_when_a_replica_is_lost_each_is_asked_about_alone() -> None:
    """So that a recording that ends every replica takes no other one along."""
    engines = FakeEngines()
    with dispatching(engines, together=3) as dispatch:
        gate = engines.gate = dispatch.run(_gate())
        errands = [errand(b"%d" % number) for number in range(4)]
        engines.acts = [lambda questions: tuple((each.content,) for each in questions), lost]
        for each in errands:
            dispatch.send(each)
        dispatch.run(_opened(gate))
        assert answers_of(*errands) == [(b"%d" % number,) for number in range(4)]
    assert sorted(map(len, engines.calls)) == [1, 1, 1, 1, 3]


def test_attempts_are_bounded_and_the_error_is_ours() -> None:
    engines = FakeEngines(acts=[lost] * 10)
    with dispatching(engines, attempts=3) as dispatch:
        one = errand(b"poison")
        dispatch.send(one)
        with pytest.raises(EngineFault, match="cluster_gave_up"):
            one.answer.result(WAIT)
    assert len(engines.calls) == 3


def test_a_full_engine_leads_to_another_and_then_to_a_refusal() -> None:
    def full(questions: Sequence[Question]) -> tuple[Any, ...]:
        return tuple(Overloaded(retry_after=7.0, waiting=1) for _ in questions)

    engines = FakeEngines(acts=[full, lambda questions: tuple((b"taken",) for _ in questions), full, full])
    with dispatching(engines, attempts=2) as dispatch:
        lucky, unlucky = errand(b"a"), errand(b"b")
        dispatch.send(lucky)
        assert answers_of(lucky) == [(b"taken",)]
        dispatch.send(unlucky)
        with pytest.raises(Overloaded) as refusal:
            unlucky.answer.result(WAIT)
    assert refusal.value.retry_after == 7.0


def test_an_error_of_one_recording_is_its_own() -> None:
    engines = FakeEngines()
    with dispatching(engines) as dispatch:
        gate = engines.gate = dispatch.run(_gate())
        errands = [errand(b"0"), errand(b"1"), errand(b"2")]
        engines.acts = [
            lambda questions: tuple((each.content,) for each in questions),
            lambda questions: (BadAudio("empty_file"), (questions[1].content,)),
        ]
        for each in errands:
            dispatch.send(each)
        dispatch.run(_opened(gate))
        with pytest.raises(BadAudio):
            errands[1].answer.result(WAIT)
        assert answers_of(errands[2]) == [(b"2",)]


@pytest.mark.parametrize("raised", [NotReady("cluster_no_replica", retry_after=1.0, seconds=1), ValueError("a bug")])
def test_an_error_of_the_call_is_everybodys_and_ours(raised: Exception) -> None:
    def fails(_: Sequence[Question]) -> tuple[Any, ...]:
        raise raised

    with dispatching(FakeEngines(acts=[fails])) as dispatch:
        one = errand(b"a")
        dispatch.send(one)
        with pytest.raises(NotReady if isinstance(raised, NotReady) else EngineFault):
            one.answer.result(WAIT)


def test_a_deadline_is_kept_while_the_call_goes_on_and_withdraws_it() -> None:
    engines = FakeEngines()
    with dispatching(engines) as dispatch:
        engines.gate = dispatch.run(_gate())
        one = errand(b"a", time.monotonic() + 0.05)
        dispatch.send(one)
        with pytest.raises(Expired):
            one.answer.result(WAIT)
    assert engines.cancelled == 1


def test_a_call_is_withdrawn_when_the_last_of_its_callers_has_left() -> None:
    engines = FakeEngines()
    with dispatching(engines, together=2) as dispatch:
        engines.gate = dispatch.run(_gate())
        first, *pair = errands = [errand(b"%d" % number) for number in range(3)]
        for each in errands:
            dispatch.send(each)
        dispatch.run(_gate())  # all of them have been taken
        pair[0].answer.cancel()
        assert dispatch.run(_looked(engines)) == 0
        pair[1].answer.cancel()
        first.answer.cancel()
    assert engines.cancelled == 2


async def _looked(engines: FakeEngines) -> int:
    await asyncio.sleep(0)
    return engines.cancelled


def test_closing_waits_for_every_answer() -> None:
    errands = [errand(str(number).encode()) for number in range(20)]
    dispatch = Dispatch(FakeEngines(), DispatchOptions())
    for each in errands:
        dispatch.send(each)
    dispatch.close()
    assert all(each.answer.done() for each in errands)


def test_what_engines_say_of_their_queues_is_heard() -> None:
    heard: list[Load] = []
    dispatch = Dispatch(FakeEngines(), DispatchOptions(), heard.append)
    one = errand(b"a")
    dispatch.send(one)
    one.answer.result(WAIT)
    dispatch.close()
    assert [load.bound for load in heard] == [10.0]

"""Loaded once for all, let go when nobody is inside, and nobody is lost at the border."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.engine.residence import Residence
from emotape.errors import EngineFault
from tests.engine.test_scheduler import Clock


class House:
    """Something to hold: knows whether it is open, and how many there ever were."""

    built = 0

    def __init__(self) -> None:
        House.built += 1
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class Builder:
    """Builds houses, at a gate if a test wants one; fails as often as it is told."""

    def __init__(self, failures: int = 0, gate: threading.Event | None = None) -> None:
        self.houses: list[House] = []
        self.failures = failures
        self.gate = gate
        self.reached = threading.Event()

    def __call__(self) -> House:
        self.reached.set()
        assert self.gate is None or self.gate.wait(60)
        assert all(not house.is_open for house in self.houses), "two at once"
        if self.failures:
            self.failures -= 1
            raise EngineFault("run_failed", kind="OSError", reason="no room")
        self.houses.append(House())
        return self.houses[-1]


def use(residence: Residence[House]) -> bool:
    """Enter at once where it is there, else later; say whether the house was open."""
    if (house := residence.enter_if_present()) is not None:
        is_open = house.is_open
        residence.leave()
        return is_open
    seen: Future[bool] = Future()

    def then(house: House) -> None:
        seen.set_result(house.is_open)
        residence.leave()

    residence.enter_later(then, seen.set_exception)
    return seen.result(60)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["use", "enter", "let_go"]), min_size=1, max_size=60))
def test_nobody_is_lost_at_the_border(acts: list[str]) -> None:
    """Uses and attempts to let go, in any mixture and from several threads: whoever enters finds it open."""
    builder = Builder()
    residence = Residence(builder, Clock())

    def act(what: str) -> bool:
        if what == "use":
            return use(residence)
        if what == "let_go":
            residence.let_go(0.0)
            return True
        house = residence.enter()
        residence.let_go(0.0)  # somebody is inside
        is_open = house.is_open
        residence.leave()
        return is_open

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(act, acts))
    residence.close()
    assert not any(house.is_open for house in builder.houses)


def test_all_who_wait_share_one_loading() -> None:
    """Those who entered later wait as well as those who stand at the door, and come in in their order."""
    builder = Builder(gate=threading.Event())
    residence = Residence(builder, Clock())
    order: list[int] = []
    came = threading.Event()

    def guest(number: int) -> None:
        order.append(number)
        residence.leave()
        if number == 9:
            came.set()

    for number in range(10):
        residence.enter_later(lambda _, number=number: guest(number), lambda _: None)  # type: ignore[misc]
    with ThreadPoolExecutor(1) as thread:
        door = thread.submit(residence.enter)
        assert builder.reached.wait(60)
        assert builder.gate is not None
        builder.gate.set()
        assert door.result(60).is_open
    assert came.wait(60)
    assert order == list(range(10))
    assert len(builder.houses) == 1
    assert not residence.let_go(0.0)
    residence.leave()
    assert residence.let_go(0.0)


def test_a_failure_is_told_to_who_came_and_the_next_one_tries_again() -> None:
    builder = Builder(failures=2)
    residence = Residence(builder, Clock())
    with pytest.raises(EngineFault):
        residence.enter()
    with pytest.raises(EngineFault):
        use(residence)
    assert use(residence)
    assert residence.let_go(0.0)  # those who failed are not counted any more


def test_it_stays_until_nobody_has_been_inside_for_long_enough() -> None:
    clock = Clock()
    residence = Residence(Builder(), clock)
    residence.enter()
    clock.now = 100.0
    assert not residence.let_go(10.0)
    residence.leave()
    clock.now = 109.9
    assert not residence.let_go(10.0)
    clock.now = 110.0
    assert residence.let_go(10.0)
    assert residence.present is None
    assert not residence.let_go(0.0)


def test_closing_serves_those_who_entered_and_lets_nobody_else_in() -> None:
    builder = Builder(gate=threading.Event())
    residence = Residence(builder, Clock())
    served = threading.Event()

    def then(house: House) -> None:
        assert house.is_open
        residence.leave()
        served.set()

    residence.enter_later(then, lambda _: None)
    assert builder.reached.wait(60)
    with ThreadPoolExecutor(1) as thread:
        closing = thread.submit(residence.close)
        while not refuses(residence):
            pass
        assert builder.gate is not None
        builder.gate.set()
        closing.result(60)
    assert served.is_set()
    assert not builder.houses[0].is_open


def refuses(residence: Residence[House]) -> bool:
    try:
        residence.check()
    except EngineFault as fault:
        return fault.code == "closed"
    return False

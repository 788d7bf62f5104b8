"""Benchmarks, the arithmetic: turns, medians and paired ratios, with sides that move a clock of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotape.delivery.bench.pairing import Side, interleaved, spread, times_faster

SECONDS = st.floats(1e-3, 1e3)


class Clock:
    """A clock that stands still until somebody works; `turns` is who worked when."""

    def __init__(self) -> None:
        self.now = 100.0
        self.turns: list[tuple[str, int]] = []

    def side(self, name: str, seconds: tuple[float, ...]) -> Side[str]:
        def work(number: int) -> str:
            self.turns.append((name, number))
            self.now += seconds[number]
            return f"{name}{number}"

        return Side(name, work)

    def __call__(self) -> float:
        return self.now


def test_sides_take_turns_and_the_order_is_reversed_each_round() -> None:
    """Whatever disturbs a round disturbs every side of it, and none always goes first."""
    clock = Clock()
    sides = [clock.side(name, (1.0, 1.0, 1.0)) for name in "ABC"]
    interleaved(sides, 3, warm_up=False, clock=clock)
    assert "".join(name for name, _ in clock.turns) == "ABCCBAABC"
    assert [number for _, number in clock.turns] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_times_and_answers_are_those_of_each_round_and_the_warm_up_is_not_timed() -> None:
    clock = Clock()
    sides = [clock.side("A", (4.0, 2.0)), clock.side("B", (1.0, 0.5))]
    found = interleaved(sides, 2, clock=clock, processor=lambda: 1.5 * clock())
    assert clock.turns[:2] == [("A", 0), ("B", 0)]
    assert len(clock.turns) == 6
    assert found["A"].seconds == (4.0, 2.0)
    assert found["B"].seconds == (1.0, 0.5)
    assert (found["A"].processor, found["A"].cores) == ((6.0, 3.0), 1.5)
    assert found["B"].answers == ("B0", "B1")


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=9), SECONDS)
def test_a_ratio_is_formed_within_each_round(pairs: list[tuple[float, float]], slowness: float) -> None:
    """A machine that is slower by any factor in a round, for both sides, changes no ratio."""
    theirs, ours = zip(*pairs, strict=True)
    disturbed = times_faster([slowness * theirs[0], *theirs[1:]], [slowness * ours[0], *ours[1:]])
    undisturbed = times_faster(theirs, ours)
    assert disturbed.median == pytest.approx(undisturbed.median)
    assert undisturbed.lowest == min(their / our for their, our in pairs)


@given(st.lists(SECONDS, min_size=1, max_size=20))
def test_a_spread_is_in_order_and_within_its_values(values: list[float]) -> None:
    found = spread(values)
    steps = [found.lowest, found.lower_quartile, found.median, found.upper_quartile, found.highest]
    assert steps == sorted(steps) or max(values) - min(values) < 1e-9
    assert (found.rounds, found.lowest, found.highest) == (len(values), min(values), max(values))

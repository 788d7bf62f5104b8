"""The controllers in a simulated engine: the device is kept busy, decisions settle, memory is given back in time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.engine.control import decoding, memory, tapes
from emotape.engine.control.course import LEAST_QUEUE_SECONDS, Bounds, Control, Measured, step
from emotape.engine.control.decoding import BUSY, Decoders, Supply
from emotape.engine.control.memory import Allowance, MemoryReading
from emotape.engine.control.tapes import LEAST_TOKENS, Tapes, Throughput, tokens_of

SPAN = 0.01  # seconds of the simulation's own steps; a tick has a hundred


@dataclass
class Machine:
    """Decoders before a device. A recording takes `decode` seconds of a decoder and `run` seconds of the device.

    With `cores`, decoders share them, as threads do.
    """

    decode: float
    run: float
    cores: float = 1e9
    most: int = 16
    decoded: float = 0.0  # recordings that are decoded and wait for the device
    state: Decoders = field(default_factory=lambda: Decoders(1))
    limits: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def tick(self, saturated: bool = True) -> None:
        busy = 0.0
        for _ in range(int(1 / SPAN)):
            working = min(self.state.limit, self.cores) if saturated else 0.0
            self.decoded += SPAN * working / self.decode
            ran = min(self.decoded, SPAN / self.run)
            self.decoded -= ran
            busy += ran * self.run
        self.shares.append(busy)
        self.state, _ = decoding.step(
            self.state, Supply(busy, self.decoded * self.run, 100 if saturated else 0), self.most
        )
        self.limits.append(self.state.limit)

    @property
    def supply(self) -> float:
        """How much of the device's time all decoders together can fill."""
        return min(self.most, self.cores) / self.decode * self.run

    def turns(self) -> int:
        """How often the number of decoders went up after it had gone down, or down after up."""
        moves = [after - before for before, after in pairwise(self.limits) if after != before]
        return sum((one > 0) != (other > 0) for one, other in pairwise(moves))


speeds = st.floats(0.01, 2.0)


@settings(deadline=None, max_examples=60)
@given(speeds, speeds, st.integers(1, 16), st.integers(1, 16))
def test_a_saturated_device_is_busy_within_ten_ticks_from_anywhere(
    decode: float, run: float, start: int, cores: int
) -> None:
    """Wherever the decoders begin, and whatever the stages take, if the machine can feed the device at all."""
    machine = Machine(decode, run, cores=cores, state=Decoders(start))
    for _ in range(70):
        machine.tick()
    if machine.supply >= 1.02:
        assert min(machine.shares[10:]) >= BUSY - 0.01
    elif machine.supply < BUSY - 0.02:
        assert machine.limits[-1] == 16


@settings(deadline=None, max_examples=25)
@given(speeds, speeds, st.integers(1, 16))
def test_decoders_settle(decode: float, run: float, start: int) -> None:
    """An hour of the same load turns the number of decoders around a handful of times: ever more rarely."""
    machine = Machine(decode, run, state=Decoders(start))
    for _ in range(600):
        machine.tick()
    assert machine.turns() <= 8
    state, supply = machine.state, Supply(1.0, 10.0, 100)
    waits = []
    for _ in range(3):  # the device starves as soon as there is one decoder less
        ticks = 0
        while state.limit >= machine.limits[-1] and ticks < 4_000 and state.limit > 1:
            state, _ = decoding.step(state, supply, 16)
            ticks += 1
        waits.append(ticks)
        state, _ = decoding.step(state, Supply(0.5, 0.0, 100), 16)
    assert waits[1] <= waits[2] or waits[2] >= 1_800


@pytest.mark.parametrize(("before", "after"), [(0.02, 0.4), (0.4, 0.02)])
def test_it_follows_when_recordings_change(before: float, after: float) -> None:
    """WAV gives way to slow formats, and the other way round: busy again within ten ticks, then calm."""
    machine = Machine(before, run=0.05)
    for _ in range(60):
        machine.tick()
    machine.decode = after
    for _ in range(60):
        machine.tick()
    assert min(machine.shares[10:60] + machine.shares[70:]) >= BUSY - 0.01
    assert machine.turns() <= 4


def test_decoders_that_pile_up_are_taken_away_one_by_one() -> None:
    machine = Machine(decode=0.01, run=1.0, state=Decoders(8))
    for _ in range(40):
        machine.tick()
    assert machine.limits[-1] == 1
    assert all(after in (before, before - 1) for before, after in pairwise(machine.limits))


def test_one_decoder_less_is_given_time_before_the_next() -> None:
    """Three ticks in a row with as much piled up as before, each time."""
    state, limits = Decoders(5), []
    for _ in range(9):
        state, _ = decoding.step(state, Supply(1.0, 10.0, 100), 16)
        limits.append(state.limit)
    assert limits == [5, 5, 4, 4, 4, 3, 3, 3, 2]


def test_without_work_nothing_changes() -> None:
    machine = Machine(decode=0.1, run=0.1, state=Decoders(5))
    for _ in range(50):
        machine.tick(saturated=False)
    assert set(machine.limits) == {5}


# ---- tapes


@dataclass
class Tape:
    """Tapes that cost `overhead` seconds each and `token` seconds a token, measured with `noise`."""

    overhead: float
    token: float
    most: int = 1_620
    noise: float = 0.0
    state: Tapes = field(default_factory=Tapes)
    sizes: list[int] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(3))

    def tick(self, saturated: bool = True, fill: float = 1.0) -> None:
        size = tokens_of(self.state, self.most)
        lasts = self.overhead + self.token * size * fill
        count = max(1, round(1 / lasts))
        seconds = count * lasts * (1 + self.chance.uniform(-self.noise, self.noise))
        measured = Throughput(count, int(count * size * fill), seconds, saturated)
        self.state, _ = tapes.step(self.state, measured, self.most)
        self.sizes.append(tokens_of(self.state, self.most))

    def rate(self, size: int) -> float:
        return size / (self.overhead + self.token * size)

    def changes(self) -> int:
        return sum(one != other for one, other in pairwise(self.sizes))


@settings(deadline=None, max_examples=60)
@given(st.floats(0.0, 0.5), st.floats(1e-6, 5e-3), st.integers(1, 30_000), st.floats(0.0, 0.01))
def test_tapes_settle_without_losing_throughput(overhead: float, token: float, most: int, noise: float) -> None:
    """Never beyond the plan, never much slower than the plan's tapes, and a length is tried ever more rarely."""
    tape = Tape(overhead, token, most, noise)
    for _ in range(1_000):
        tape.tick()
    assert max(tape.sizes) <= most
    assert tape.changes() <= 24
    usual = max(set(tape.sizes), key=tape.sizes.count)
    assert tape.rate(usual) >= 0.8 * tape.rate(most)


def test_long_tapes_are_halved_while_that_costs_nothing() -> None:
    """Where time goes by the token alone, nobody waits longer than a quarter of a second for a tape to end."""
    tape = Tape(overhead=0.0, token=0.002)
    for _ in range(100):
        tape.tick()
    assert 0.002 * tape.sizes[-1] <= 0.25
    assert tape.changes() <= 5


def test_costly_tapes_stay_full() -> None:
    """Where every tape costs the same, shorter ones are given up soon after they were tried."""
    tape = Tape(overhead=1.0, token=1e-6)
    for _ in range(2_000):
        tape.tick()
    assert tape.sizes.count(1_620) > 0.97 * len(tape.sizes)
    assert tape.changes() <= 12


def test_quick_tapes_are_filled_again() -> None:
    """The load changes to what runs fast: brief tapes grow back to the plan's."""
    tape = Tape(overhead=0.0, token=0.002)
    for _ in range(100):
        tape.tick()
    tape.token = 0.00002
    for _ in range(100):
        tape.tick()
    assert tape.sizes[-1] >= 810


@pytest.mark.parametrize(("saturated", "fill"), [(False, 1.0), (True, 0.1)])
def test_tapes_that_are_not_full_say_nothing(saturated: bool, fill: float) -> None:
    tape = Tape(overhead=0.0, token=0.002)
    for _ in range(50):
        tape.tick(saturated, fill)
    assert set(tape.sizes) == {1_620}


@given(st.integers(0, 40), st.integers(1, 50_000))
def test_a_tape_has_some_length_and_never_more_than_allowed(halvings: int, most: int) -> None:
    assert min(most, LEAST_TOKENS) <= tokens_of(Tapes(halvings), most) <= most


# ---- memory


@dataclass
class Memory:
    """`base` of the memory is used by others, and `own` by what waits and is kept, at the share that is allowed."""

    base: float
    own: float
    stalled: float = 0.0
    state: Allowance = field(default_factory=Allowance)
    shares: list[float] = field(default_factory=list)

    def tick(self) -> None:
        used = int(1000 * (self.base + self.own * self.state.share))
        self.state, _ = memory.step(self.state, MemoryReading(used, 1000, self.stalled))
        self.shares.append(self.state.share)

    def turns(self) -> int:
        moves = [after - before for before, after in pairwise(self.shares) if after != before]
        return sum((one > 0) != (other > 0) for one, other in pairwise(moves))


def test_a_spike_is_met_at_once_and_recovered_from_slowly() -> None:
    """Tight halves, short takes all; what comes back comes back a tenth at a time, and wholly."""
    machine = Memory(base=0.3, own=0.3)
    machine.tick()
    machine.base = 0.6
    machine.tick()
    assert machine.shares[-1] == 0.5
    machine.base = 0.97
    machine.tick()
    assert machine.shares[-1] == 0.0
    machine.base = 0.3
    for _ in range(200):
        machine.tick()
    assert machine.shares[-1] == 1.0
    rises = [after - before for before, after in pairwise(machine.shares[3:])]
    assert max(rises) <= 0.1 + 1e-9


@settings(deadline=None, max_examples=100)
@given(st.floats(0.0, 1.0), st.floats(0.0, 0.6))
def test_memory_settles(base: float, own: float) -> None:
    """An hour on any machine: what memory allows turns around a few times, and ever more rarely."""
    machine = Memory(base, own)
    for _ in range(3_600):
        machine.tick()
    assert machine.turns() <= 14
    assert 0.0 <= min(machine.shares) <= max(machine.shares) <= 1.0


@pytest.mark.parametrize(("stalled", "share"), [(4.0, 1.0), (15.0, 0.5), (60.0, 0.0)])
def test_standing_still_for_memory_counts_as_its_lack(stalled: float, share: float) -> None:
    """The kernel's own measure of pressure is believed, however much seems to be free."""
    machine = Memory(base=0.1, own=0.1, stalled=stalled)
    machine.tick()
    assert machine.shares == [share]


# ---- all together

BOUNDS = Bounds(decoders=8, tape_tokens=1_620, queue_seconds=3_600.0, decoded_megabytes=800.0)
CALM = Measured(Supply(1.0, 1.0, 0), Throughput(0, 0, 0.0, saturated=False), MemoryReading(10, 100))

supplies = st.builds(Supply, st.floats(0, 1), st.floats(0, 100), st.integers(0, 100))
throughputs = st.builds(Throughput, st.integers(0, 100), st.integers(0, 10**6), st.floats(0, 10), st.booleans())
readings = st.none() | st.builds(MemoryReading, st.integers(0, 100), st.just(100), st.floats(0, 100))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.builds(Measured, supplies, throughputs, readings), max_size=60))
def test_whatever_is_measured_the_course_stays_within_the_plan(story: list[Measured]) -> None:
    """And every change is told, with its reason."""
    control = Control(Decoders(BOUNDS.decoders))
    for measured in story:
        before = control.course(BOUNDS)
        control, changes = step(control, measured, BOUNDS)
        course = control.course(BOUNDS)
        assert 1 <= course.decoders <= BOUNDS.decoders
        assert LEAST_TOKENS <= course.tape_tokens <= BOUNDS.tape_tokens
        assert LEAST_QUEUE_SECONDS <= course.queue_seconds <= BOUNDS.queue_seconds
        assert 0.0 <= course.cache_share <= 1.0
        assert (course == before) == (not changes)
        assert all(change.reason and getattr(course, change.what) == change.after for change in changes)


def test_short_memory_stops_everything_that_takes_some() -> None:
    """One decoder, a window's worth of queue, no cache; and all of it comes back."""
    control = Control(Decoders(8))
    short = Measured(CALM.supply, CALM.throughput, MemoryReading(99, 100))
    control, changes = step(control, short, BOUNDS)
    course = control.course(BOUNDS)
    assert (course.decoders, course.queue_seconds, course.cache_share) == (1, LEAST_QUEUE_SECONDS, 0.0)
    assert {change.reason for change in changes} == {"memory_short"}
    hungry = Measured(Supply(0.2, 0.0, 50), CALM.throughput, MemoryReading(10, 100))
    for _ in range(100):
        control, _ = step(control, hungry, BOUNDS)
    course = control.course(BOUNDS)
    assert (course.decoders, course.queue_seconds, course.cache_share) == (8, 3_600.0, 1.0)


def test_where_nobody_knows_of_memory_nothing_is_lowered() -> None:
    control = Control(Decoders(8))
    control, changes = step(control, Measured(CALM.supply, CALM.throughput, None), BOUNDS)
    assert not changes

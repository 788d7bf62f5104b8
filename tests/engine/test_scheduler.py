"""The law of one answer: every admitted request gets exactly one, whatever fails, leaves or comes late."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.engine.progress import Progress
from emotape.engine.runner import Clip, ClipScores, FakeRunner
from emotape.engine.scheduler import RunReport, Scheduler
from emotape.errors import EmotapeError, EngineFault, Expired, Overloaded
from emotape.events import Answered, Event, MemoryShort, NotFinite, Refusal, TapeRan
from tests.engine.test_tape import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BROKEN = -1.0  # the mean of a clip that breaks the runner


class Clock:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class GatedRunner(FakeRunner):
    """Waits at a gate before every tape, so that a test decides what is queued when."""

    def __init__(self) -> None:
        super().__init__(OFFICIAL, failing=lambda clip: bool(clip.waveform.samples[0] == BROKEN))
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        self.entered.release()
        assert self.gate.acquire(timeout=60)
        return super().run(clips)

    def open(self) -> None:
        self.gate.release(1_000)


def clip(mean: float, seconds: float = 0.1) -> Clip:
    """A clip whose every sample is `mean`."""
    return Clip(Waveform(np.full(int(seconds * SAMPLE_RATE), mean, np.float32)))


def broken_runner() -> FakeRunner:
    return FakeRunner(OFFICIAL, failing=lambda clip: bool(clip.waveform.samples[0] == BROKEN))


@contextmanager
def scheduler(
    *runners: FakeRunner,
    tape_tokens: int = 200,
    queue_seconds: float = 1e6,
    clock: Clock | None = None,
    fallback: FakeRunner | None = None,
) -> Iterator[tuple[Scheduler, list[Event]]]:
    events: list[Event] = []
    made = Scheduler(
        runners,
        tape_tokens=tape_tokens,
        queue_seconds=queue_seconds,
        clock=clock or Clock(),
        observer=events.append,
        fallback=None if fallback is None else lambda: fallback,
    )
    try:
        yield made, events
    finally:
        for runner in runners:
            if isinstance(runner, GatedRunner):
                runner.open()
        made.close()


def mean_of(report: RunReport, index: int = 0) -> float:
    return float(report.scores[index].embedding[0])


requests = st.lists(st.lists(st.sampled_from([BROKEN, 0.25, 0.5, 0.75]), min_size=1, max_size=4), max_size=20)


@settings(deadline=None, max_examples=60)
@given(requests, st.integers(1, 3), st.integers(1, 400))
def test_every_request_gets_its_own_answer(wanted: list[list[float]], runners: int, tape_tokens: int) -> None:
    """Scores go to the request they belong to; a broken clip fails its own request and no neighbour."""
    with scheduler(*[broken_runner() for _ in range(runners)], tape_tokens=tape_tokens) as (made, events):
        futures = [made.submit([clip(mean) for mean in means]) for means in wanted]
        for means, future in zip(wanted, futures, strict=True):
            if BROKEN in means:
                with pytest.raises(EngineFault):
                    future.result(timeout=60)
            else:
                report = future.result(timeout=60)
                assert [mean_of(report, index) for index in range(len(means))] == means
    assert sum(isinstance(event, Answered | Refusal) for event in events) == len(wanted)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["stay", "leave", "late"]), min_size=1, max_size=30))
def test_nobody_who_left_or_came_late_is_run(fates: list[str]) -> None:
    """Cancelled and expired requests are dropped before they run, and each still has its one answer."""
    runner, clock = GatedRunner(), Clock()
    with scheduler(runner, clock=clock) as (made, _):
        first = made.submit([clip(0.5, seconds=3.0)])
        assert runner.entered.acquire(timeout=60)  # the first is on a tape; the rest wait
        deadlines = {"stay": None, "leave": None, "late": 1.0}
        futures = [made.submit([clip(0.25)], deadline=deadlines[fate]) for fate in fates]
        for fate, future in zip(fates, futures, strict=True):
            if fate == "leave":
                assert future.cancel()
        clock.now = 2.0
        runner.open()
        first.result(timeout=60)
        for fate, future in zip(fates, futures, strict=True):
            expected = {"stay": None, "leave": CancelledError, "late": Expired}[fate]
            if expected is None:
                assert mean_of(future.result(timeout=60)) == 0.25
            else:
                with pytest.raises(expected):
                    future.result(timeout=60)
    assert sum(map(len, runner.ran)) == 1 + fates.count("stay")


def test_a_full_queue_refuses_at_the_door_with_a_hint() -> None:
    """The bound is in seconds of audio; what is refused was never admitted, and a later try succeeds."""
    runner = GatedRunner()
    with scheduler(runner, queue_seconds=5.0) as (made, events):
        made.submit([clip(0.5, seconds=3.0)])
        assert runner.entered.acquire(timeout=60)
        futures = [made.submit([clip(0.5, seconds=2.0)]) for _ in range(2)]
        assert made.waiting_seconds == 4.0
        with pytest.raises(Overloaded) as refusal:
            made.submit([clip(0.5, seconds=2.0)])
        assert refusal.value.retry_after > 0
        runner.open()
        for future in futures:
            future.result(timeout=60)
        assert made.waiting_seconds == 0
        made.submit([clip(0.5, seconds=2.0)]).result(timeout=60)
    assert [event.code for event in events if isinstance(event, Refusal)] == ["overloaded"]


def test_seconds_are_those_between_coming_starting_and_ending() -> None:
    """What a report, the facts and the hint for those who are refused say of time is what the clock says."""
    runner, clock = GatedRunner(), Clock()
    clock.now = 100.0
    with scheduler(runner, clock=clock, queue_seconds=4.0) as (made, events):
        first = made.submit([clip(0.5, seconds=1.0)])
        assert runner.entered.acquire(timeout=60)
        second = made.submit([clip(0.5, seconds=2.0)])
        clock.now = 103.0
        runner.gate.release()
        assert runner.entered.acquire(timeout=60)  # the second is on a tape
        waiting = made.submit([clip(0.5, seconds=4.0)])
        with pytest.raises(Overloaded) as refusal:
            made.submit([clip(0.5, seconds=2.0)])
        assert (refusal.value.retry_after, made.backlog_seconds) == (12.0, 12.0)  # 3 s for each of the 4 that wait
        clock.now = 108.0
        runner.open()
        reports = [future.result(timeout=60) for future in (first, second, waiting)]
    assert [(report.queue_seconds, report.run_seconds) for report in reports] == [(0.0, 3.0), (3.0, 5.0), (5.0, 0.0)]
    assert [event.seconds for event in events if isinstance(event, TapeRan)] == [3.0, 5.0, 0.0]
    answered = [(event.queued_seconds, event.seconds) for event in events if isinstance(event, Answered)]
    assert answered == [(0.0, 3.0), (3.0, 8.0), (5.0, 5.0)]


def test_a_recording_longer_than_the_bound_is_admitted_to_an_empty_queue() -> None:
    """No ceiling on length: it is only a matter of whose turn it is."""
    with scheduler(broken_runner(), queue_seconds=1.0) as (made, _):
        assert len(made.submit([clip(0.5, seconds=3.0)] * 4).result(timeout=60).scores) == 4


def test_waiting_clips_share_a_tape() -> None:
    """What waits while a tape runs goes on the next one together."""
    runner = GatedRunner()
    with scheduler(runner) as (made, events):
        futures = [made.submit([clip(0.5)])]
        assert runner.entered.acquire(timeout=60)
        futures += [made.submit([clip(0.25)]) for _ in range(5)]
        runner.open()
        for future in futures:
            future.result(timeout=60)
    assert [event.clips for event in events if isinstance(event, TapeRan)] == [1, 5]


def test_a_scheduler_that_fails_itself_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a fault in the packing becomes an answer, and later requests are refused."""
    monkeypatch.setattr("emotape.engine.scheduler.choose", lambda waiting, capacity: 1 / 0)
    with scheduler(broken_runner()) as (made, _):
        with pytest.raises(EngineFault):
            made.submit([clip(0.5)]).result(timeout=60)
        with pytest.raises(EmotapeError):  # refused, or admitted just before the end and then answered
            made.submit([clip(0.5)]).result(timeout=60)


def test_closing_answers_what_waits_or_fails_it() -> None:
    """`close` drains; `close(drain=False)` fails what waits; nothing is admitted after either."""
    made = Scheduler([broken_runner()], tape_tokens=200, queue_seconds=1e6)
    futures = [made.submit([clip(0.5)]) for _ in range(20)]
    made.close()
    assert [mean_of(future.result(timeout=0)) for future in futures] == [0.5] * 20
    with pytest.raises(EngineFault):
        made.submit([clip(0.5)])

    runner = GatedRunner()
    made = Scheduler([runner], tape_tokens=200, queue_seconds=1e6)
    running = made.submit([clip(0.5, seconds=3.0)])
    assert runner.entered.acquire(timeout=60)
    waiting = made.submit([clip(0.5)])
    runner.open()
    with ThreadPoolExecutor(1) as closer:
        closer.submit(made.close, drain=False).result(timeout=60)
    assert mean_of(running.result(timeout=0)) == 0.5
    assert isinstance(waiting.exception(timeout=0), EngineFault) or mean_of(waiting.result(timeout=0)) == 0.5


def test_many_threads_at_once() -> None:
    """Two runners, sixteen callers: each gets its own scores."""
    with scheduler(broken_runner(), broken_runner()) as (made, _), ThreadPoolExecutor(16) as callers:

        def call(index: int) -> tuple[float, Future[RunReport]]:
            mean = index / 1024
            return mean, made.submit([clip(mean)])

        for mean, future in callers.map(call, range(300)):
            assert mean_of(future.result(timeout=60)) == np.float32(mean)


class CrampedRunner(FakeRunner):
    """A device with room for so many samples on a tape."""

    device = "cramped"

    def __init__(self, room: float) -> None:
        super().__init__(OFFICIAL)
        self.room = room * SAMPLE_RATE

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        if sum(len(clip.waveform) for clip in clips) > self.room:
            raise MemoryError("injected: no room")
        return super().run(clips)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([0.1, 0.4, 0.9, 2.5]), min_size=1, max_size=20), st.booleans())
def test_out_of_memory_loses_no_request(lengths: list[float], has_fallback: bool) -> None:
    """Tapes are split and stay shorter; what fits nowhere runs on the fallback, or has its one typed error."""
    runner, fallback = CrampedRunner(room=1.0), FakeRunner(OFFICIAL)
    with scheduler(runner, tape_tokens=1_600, fallback=fallback if has_fallback else None) as (made, events):
        futures = [made.submit([clip(index / 32, seconds)]) for index, seconds in enumerate(lengths)]
        for index, (seconds, future) in enumerate(zip(lengths, futures, strict=True)):
            if seconds > 1.0 and not has_fallback:
                assert isinstance(future.exception(timeout=60), EngineFault)
            else:
                assert mean_of(future.result(timeout=60)) == np.float32(index / 32)
    assert len(fallback.ran) == (sum(seconds > 1.0 for seconds in lengths) if has_fallback else 0)
    shorter = [event.tape_tokens for event in events if isinstance(event, MemoryShort)]
    assert shorter == sorted(shorter, reverse=True)
    assert bool(shorter) >= any(seconds > 1.0 for seconds in lengths)


class BrokenRunner(FakeRunner):
    """A device that makes no numbers of negative sound."""

    device = "broken"

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        found = super().run(clips)
        return [
            replace(scores, embedding=scores.embedding * np.float32(np.nan)) if clip.waveform.samples[0] < 0 else scores
            for clip, scores in zip(clips, found, strict=True)
        ]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.booleans())
def test_what_is_no_number_is_tried_elsewhere_and_never_an_answer(broken: list[bool], has_fallback: bool) -> None:
    """Neighbours on the tape keep their answers; without a fallback the one clip has its typed error."""
    runner, fallback = BrokenRunner(OFFICIAL), FakeRunner(OFFICIAL)
    with scheduler(runner, tape_tokens=1_600, fallback=fallback if has_fallback else None) as (made, events):
        values = [(-1 if wrong else 1) * (index + 1) / 32 for index, wrong in enumerate(broken)]
        futures = [made.submit([clip(value, 0.3)]) for value in values]
        for value, future in zip(values, futures, strict=True):
            if value < 0 and not has_fallback:
                error = future.exception(timeout=60)
                assert isinstance(error, EngineFault)
                assert error.code == "not_finite"
            else:
                assert mean_of(future.result(timeout=60)) == np.float32(value)
    assert sum(event.clips for event in events if isinstance(event, NotFinite)) == sum(broken)


def test_after_memory_ran_out_tapes_stay_short() -> None:
    """The second round of the same clips does not run into the same wall."""
    runner = CrampedRunner(room=1.0)
    with scheduler(runner, tape_tokens=1_600) as (made, events):
        counts = []
        for _ in range(2):
            made.submit([clip(0.5, seconds=0.3) for _ in range(12)]).result(timeout=60)
            counts.append(sum(isinstance(event, MemoryShort) for event in events))
    assert counts[0] > 0
    assert counts[1] == counts[0]


def test_a_fallback_that_cannot_be_made_leaves_the_first_error() -> None:
    """No weights, no memory: the caller hears what went wrong first."""

    def impossible() -> FakeRunner:
        raise OSError("the weights are gone")

    made = Scheduler([CrampedRunner(room=1.0)], tape_tokens=1_600, queue_seconds=1e6, fallback=impossible)
    with pytest.raises(EngineFault, match="no room"):
        made.submit([clip(0.5, seconds=2.0)]).result(timeout=60)
    made.close()


def test_a_request_says_how_far_it_is() -> None:
    """Running with so many windows done, queued behind so many seconds, done."""
    runner = GatedRunner()
    with scheduler(runner, tape_tokens=60) as (made, _):
        first = made.submit([clip(0.1, 1.0), clip(0.2, 1.0)])
        assert runner.entered.acquire(timeout=60)
        second, third = made.submit([clip(0.3, 1.0)]), made.submit([clip(0.4, 0.5)])
        assert first.progress() == Progress("running", windows=2)
        assert [waiting.progress().stage for waiting in (second, third)] == ["queued", "queued"]
        assert second.progress().ahead_seconds == 1.0  # the second window of the first
        assert third.progress().ahead_seconds == 2.0
        runner.gate.release()
        assert runner.entered.acquire(timeout=60)
        assert first.progress().windows_done == 1
        runner.open()
        for future in (first, second, third):
            future.result(timeout=60)
            assert future.progress() == Progress("done")

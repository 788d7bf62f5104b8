"""Equal requests under way share one run, and each gets exactly one answer, whoever leaves and whatever fails."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotape.engine.progress import Pending, Progress
from emotape.errors import BadAudio, EngineFault, Expired
from emotape.store.cache.shared_runs import Caller, SharedRuns

LATER = 1_000.0


class Story:
    """Shared runs whose works the test ends, and whose other threads it lets go on."""

    def __init__(self) -> None:
        self.tasks: list[object] = []
        self.works: list[tuple[str, Pending[str], float | None]] = []
        self.callers: list[tuple[str, Pending[str]]] = []
        self.delivered: Counter[int] = Counter()
        self.runs: SharedRuns[str] = SharedRuns(self.tasks.append)

    def join(self, key: str, deadline: float | None = None) -> Pending[str]:
        answer: Pending[str] = Pending()
        number = len(self.callers)

        def deliver(value: str, own: bool) -> str:
            self.delivered[number] += 1
            return f"{value} for {'its own' if own else 'another'}"

        self.callers.append((key, answer))
        self.runs.join(
            key, Caller(answer, deadline, deliver), lambda work, until: self.works.append((key, work, until))
        )
        return answer

    def live(self, key: str) -> list[Pending[str]]:
        return [work for other, work, _ in self.works if other == key and not work.done()]

    def go_on(self) -> None:
        if self.tasks:
            self.tasks.pop(0)()  # type: ignore[operator]

    def finish_all(self) -> None:
        while self.tasks or any(not work.done() for _, work, _ in self.works):
            while self.tasks:
                self.go_on()
            for key, work, _ in self.works:
                if not work.done():
                    work.set_result(f"scores of {key}")


steps = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from("ab"), st.sampled_from([None, 10.0, 10.5, LATER])),
        st.tuples(st.just("leave"), st.integers(0, 30), st.none()),
        st.tuples(st.sampled_from(["done", "fault", "expired"]), st.integers(0, 30), st.none()),
        st.tuples(st.just("go on"), st.none(), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=400)
@given(steps)
def test_every_request_gets_exactly_one_answer(plan: list[tuple[str, str | int | None, float | None]]) -> None:
    """Callers come and go, runs end, fail and expire in any order; nobody is forgotten, nobody gets another's."""
    story, left = Story(), set()
    for step, which, deadline in plan:
        if step == "join":
            story.join(str(which), deadline)
        elif step == "go on":
            story.go_on()
        elif step == "leave" and story.callers:
            number = int(which or 0) % len(story.callers)
            if story.callers[number][1].cancel():
                left.add(number)
        elif step != "leave" and (open_works := [entry for entry in story.works if not entry[1].done()]):
            key, work, _ = open_works[int(which or 0) % len(open_works)]
            if step == "done":
                work.set_result(f"scores of {key}")
            else:
                work.set_exception(EngineFault("run_failed", reason="r") if step == "fault" else Expired("expired"))
    story.finish_all()
    for number, (key, answer) in enumerate(story.callers):
        assert answer.done()
        assert answer.cancelled() == (number in left)
        assert story.delivered[number] <= 1
        if not answer.cancelled() and answer.exception() is None:
            assert answer.result().startswith(f"scores of {key} for ")
            assert story.delivered[number] == 1
    assert not story.runs._runs, "nothing is kept of what is over"
    assert all(work.done() for _, work, _ in story.works)


def test_equal_requests_run_once_and_all_hear_of_it() -> None:
    story = Story()
    answers = [story.join("a") for _ in range(100)]
    (work,) = story.live("a")
    work.set_result("scores")
    assert [answer.result(0) for answer in answers] == ["scores for its own", *["scores for another"] * 99]


def test_the_first_one_leaves_and_the_run_goes_on_for_the_others() -> None:
    story = Story()
    first, second = story.join("a"), story.join("a")
    first.cancel()
    (work,) = story.live("a")
    work.set_result("scores")
    assert second.result(0) == "scores for another"


def test_a_run_that_everybody_left_is_cancelled_and_the_next_one_begins_anew() -> None:
    story = Story()
    answers = [story.join("a") for _ in range(3)]
    for answer in answers:
        answer.cancel()
    assert story.works[0][1].cancelled()
    again = story.join("a")
    assert len(story.works) == 2
    story.finish_all()
    assert again.result(0) == "scores of a for its own"


def test_whose_deadline_passes_takes_nobody_along() -> None:
    """The others' turns come one by one, each with its own deadline."""
    story = Story()
    answers = [story.join("a", deadline) for deadline in (10.0, 20.0, None)]
    for turn in range(2):
        assert story.works[turn][2] == (10.0, 20.0)[turn]
        story.works[turn][1].set_exception(Expired("expired"))
        story.go_on()
        assert isinstance(answers[turn].exception(0), Expired)
    story.finish_all()
    assert answers[2].result(0) == "scores of a for its own"


def test_a_fault_is_tried_once_more_and_then_believed() -> None:
    """A recording that breaks the network breaks it twice, not once for each of its callers."""
    story = Story()
    answers = [story.join("a") for _ in range(5)]
    story.works[0][1].set_exception(EngineFault("run_failed", reason="first"))
    assert [answer.done() for answer in answers] == [True, False, False, False, False]
    story.go_on()
    story.works[1][1].set_exception(EngineFault("run_failed", reason="second"))
    reasons = [answer.exception(0).facts["reason"] for answer in answers]  # type: ignore[union-attr]
    assert reasons == ["first", *["second"] * 4]
    assert len(story.works) == 2


def test_nobody_waits_for_a_run_that_may_last_longer_than_he_can() -> None:
    """Behind one without a deadline, one with a deadline runs by himself; nearly equal deadlines share."""
    story = Story()
    story.join("a")
    hurried = story.join("a", 10.0)
    story.join("a", 9.5)
    assert [until for _, _, until in story.works] == [None, 10.0]
    story.works[1][1].set_result("scores")
    assert hurried.done()
    story.finish_all()


def test_what_cannot_begin_is_an_answer() -> None:
    """An error before the work is under way, and the end of the threads that would begin it anew."""
    failing: SharedRuns[str] = SharedRuns(lambda task: task())

    def broken(work: Pending[str], until: float | None) -> None:
        raise BadAudio("empty_file")

    answer: Pending[str] = Pending()
    failing.join("a", Caller(answer, None, lambda value, own: value), broken)
    assert isinstance(answer.exception(0), BadAudio)

    def closed(task: object) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    story = Story()
    story.runs._elsewhere = closed
    answers = [story.join("a") for _ in range(3)]
    story.works[0][1].set_exception(Expired("expired"))
    assert [type(answer.exception(0)) for answer in answers] == [Expired, EngineFault, EngineFault]


def test_a_delivery_that_fails_fails_alone() -> None:
    story = Story()
    good = story.join("a")
    bad: Pending[str] = Pending()
    story.runs.join("a", Caller(bad, None, lambda value, own: str(1 // 0)), lambda work, until: None)
    story.finish_all()
    assert good.result(0)
    assert isinstance(bad.exception(0), EngineFault)


def test_all_see_how_far_the_run_is() -> None:
    story = Story()
    one, other = story.join("a"), story.join("a")
    story.works[0][1].follow(lambda: Progress("running", 0.0, 3, 2))
    assert one.progress() == other.progress() == Progress("running", 0.0, 3, 2)
    story.finish_all()
    assert one.progress().stage == other.progress().stage == "done"


def test_threads_that_come_leave_and_fail_at_once() -> None:
    """Real threads, no order: every caller has an answer, and it is of its own key."""
    with ThreadPoolExecutor(4) as elsewhere, ThreadPoolExecutor(16) as callers:
        runs: SharedRuns[str] = SharedRuns(elsewhere.submit)
        lock, ran = threading.Lock(), Counter[str]()

        def ask(number: int) -> str | None:
            dice, key = random.Random(number), str(number % 3)

            def start(work: Pending[str], until: float | None) -> None:
                def end() -> None:
                    with lock:
                        ran[key] += 1
                    if work.set_running_or_notify_cancel():
                        if dice.random() < 0.3:
                            work.set_exception(Expired("expired"))
                        else:
                            work.set_result(key)

                elsewhere.submit(end)

            answer: Pending[str] = Pending()
            runs.join(key, Caller(answer, None, lambda value, own: value), start)
            if dice.random() < 0.3:
                answer.cancel()
            try:
                return answer.result(60)
            except (Expired, CancelledError):
                return None

        answers = list(callers.map(ask, range(600)))
    assert all(answer in (None, str(number % 3)) for number, answer in enumerate(answers))
    assert sum(answer is not None for answer in answers) > 200
    assert not runs._runs


@pytest.mark.parametrize("count", [2, 50])
def test_threads_that_come_at_once_share(count: int) -> None:
    runs: SharedRuns[str] = SharedRuns(lambda task: task())
    works: list[Pending[str]] = []
    answers: list[Pending[str]] = [Pending() for _ in range(count)]
    together = threading.Barrier(count)

    def ask(answer: Pending[str]) -> None:
        together.wait(60)
        runs.join("a", Caller(answer, None, lambda value, own: value), lambda work, until: works.append(work))

    with ThreadPoolExecutor(count) as callers:
        list(callers.map(ask, answers))
    (work,) = works
    work.set_result("scores")
    assert {answer.result(0) for answer in answers} == {"scores"}

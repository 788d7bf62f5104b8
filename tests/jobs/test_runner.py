"""The runner of jobs: a few recordings at a time, through overload, faults, cancellation and stops."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.api.jobs_runner import JobsRunner
from emotape.engine.flight import LARGE
from emotape.errors import BadAudio, EngineFault, ModelFault, Overloaded
from emotape.store.cache.entry import unpack
from emotape.store.jobs import FINAL, StoreOptions, Submission
from tests.jobs.conftest import Place, accepted, claimed, folders, sqlite_of, uploads
from tests.jobs.fakes import FakeRecognizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.store.jobs import Job, JobStore


@contextmanager
def running(store: JobStore, recognizer: FakeRecognizer, in_flight: int = 2) -> Iterator[JobsRunner]:
    runner = JobsRunner(store, recognizer, in_flight)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop(0.0)


def ended(store: JobStore, *jobs: Job) -> list[Job]:
    """Wait until jobs have ended, and return them as they are then."""
    changed = threading.Condition()

    def tell(_: str) -> None:
        with changed:
            changed.notify_all()

    stop = store.listen(tell)
    with changed:
        assert changed.wait_for(lambda: all(store.job(job.caller, job.id).state in FINAL for job in jobs), 60)
    stop()
    return [store.job(job.caller, job.id) for job in jobs]


def test_what_was_there_and_what_comes_is_answered_once(store: JobStore) -> None:
    recognizer = FakeRecognizer()
    before = accepted(store, b"1", b"2", b"3")
    with running(store, recognizer):
        after = accepted(store, b"4")
        for job in ended(store, before, after):
            assert job.state == "done"
    assert sorted(recognizer.heard) == [b"1", b"2", b"3", b"4"]
    for result in store.results("me", before.id):
        assert result.answer is not None
        (prediction,) = unpack(result.answer)
        assert prediction.provenance.model == "fake"


def test_no_more_than_a_few_are_under_way(store: JobStore) -> None:
    recognizer = FakeRecognizer(prompt=False)
    job = accepted(store, *[b"%d" % number for number in range(9)])
    with running(store, recognizer, in_flight=3) as runner:
        for left in range(9, 0, -1):
            content = recognizer.await_waiting(min(3, left))[0]
            assert len(runner.progress(job.id)) <= 3
            recognizer.answer(content)
        ended(store, job)
    assert recognizer.most == 3


def test_channels_are_answered_each_where_that_is_asked(store: JobStore) -> None:
    job, _ = store.accept(Submission("me", {"channels": "split"}), uploads(b"stereo"))
    with running(store, FakeRecognizer()):
        ended(store, job)
    (result,) = store.results("me", job.id)
    assert len(unpack(result.answer or b"")) == 2


def test_a_job_that_is_too_late_expires(store: JobStore, place: Place) -> None:
    """The deadline counts from acceptance, however long the server was away."""
    recognizer = FakeRecognizer()
    place.clock.now = time.time() - 7200
    job, _ = store.accept(Submission("me", {"deadline": 3600.0}), uploads(b"late"))
    timely, _ = store.accept(Submission("me", {"deadline": 80_000.0}), uploads(b"timely"))
    with running(store, recognizer):
        late, done = ended(store, job, timely)
    assert (late.state, done.state) == ("failed", "done")
    (result,) = store.results("me", job.id)
    assert result.error is not None
    assert result.error.code == "expired"
    assert recognizer.heard == [b"timely"]


def test_large_recordings_are_run_one_at_a_time(store: JobStore) -> None:
    recognizer = FakeRecognizer(prompt=False)
    large = [b"%d" % number * LARGE for number in range(2)]
    job = accepted(store, large[0], large[1], b"small")
    with running(store, recognizer, in_flight=3):
        assert sorted(recognizer.await_waiting(2), key=len) == [b"small", large[0]]
        recognizer.answer(large[0])
        assert sorted(recognizer.await_waiting(2), key=len) == [b"small", large[1]]
        recognizer.answer(large[1])
        recognizer.answer(b"small")
        ended(store, job)


@pytest.mark.parametrize("refusal", [Overloaded(retry_after=0.01, waiting=9), EngineFault("closed")])
def test_a_refusal_is_waited_out(store: JobStore, monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    monkeypatch.setattr("emotape.delivery.api.jobs_runner._AFTER_FAULT_SECONDS", 0.01)
    recognizer = FakeRecognizer(refusals=[refusal] * 5)
    job = accepted(store)
    with running(store, recognizer):
        (done,) = ended(store, job)
    assert done.state == "done"
    assert recognizer.heard == [b"a"]


def test_an_overload_told_later_is_waited_out_too(store: JobStore) -> None:
    recognizer = FakeRecognizer(failures={b"a": [Overloaded(retry_after=0.01, waiting=9)] * 3})
    job = accepted(store)
    with running(store, recognizer):
        assert ended(store, job)[0].state == "done"
    assert recognizer.heard == [b"a"] * 4


def test_a_model_that_cannot_be_loaded_costs_no_job(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotape.delivery.api.jobs_runner._AFTER_FAULT_SECONDS", 0.01)
    recognizer = FakeRecognizer(refusals=[ModelFault("model_not_found", model="x", names="y")] * 3)
    job = accepted(store)
    with running(store, recognizer):
        assert ended(store, job)[0].state == "done"


def test_a_recording_that_cannot_be_used_fails_at_once_and_alone(store: JobStore) -> None:
    recognizer = FakeRecognizer(failures={b"bad": [BadAudio("empty_file")]})
    job = accepted(store, b"bad", b"good")
    with running(store, recognizer):
        (done,) = ended(store, job)
    assert (done.state, done.counts["failed"], done.counts["done"]) == ("done", 1, 1)
    assert recognizer.heard.count(b"bad") == 1


def test_a_fault_of_the_engine_is_tried_once_more(store: JobStore) -> None:
    fault = EngineFault("run_failed", reason="once")
    recognizer = FakeRecognizer(failures={b"unlucky": [fault], b"cursed": [fault] * 9})
    job = accepted(store, b"unlucky", b"cursed")
    with running(store, recognizer):
        ended(store, job)
    unlucky, cursed = store.results("me", job.id)
    assert unlucky.answer is not None
    assert cursed.error is not None
    assert cursed.error.code == "run_failed"
    assert (recognizer.heard.count(b"unlucky"), recognizer.heard.count(b"cursed")) == (2, 2)


def test_an_exception_that_nobody_foresaw_ends_a_recording_and_not_the_runner(store: JobStore) -> None:
    recognizer = FakeRecognizer(failures={b"a": [ZeroDivisionError("!")] * 2})
    first, second = accepted(store, b"a"), accepted(store, b"b")
    with running(store, recognizer):
        failed, done = ended(store, first, second)
    assert (failed.state, done.state) == ("failed", "done")


def test_an_answer_that_is_too_large_is_an_error_of_its_recording(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotape.delivery.api.jobs_runner.LARGEST_ANSWER", 10)
    job = accepted(store)
    with running(store, FakeRecognizer()):
        ended(store, job)
    (result,) = store.results("me", job.id)
    assert result.error is not None
    assert result.error.code == "job_result_too_large"


def test_a_cancelled_job_is_withdrawn_from_the_recognizer(store: JobStore, place: Place) -> None:
    recognizer = FakeRecognizer(prompt=False)
    job, other = accepted(store, b"1", b"2", b"3"), accepted(store, b"other")
    with running(store, recognizer, in_flight=1):
        recognizer.await_waiting(1)
        (_, cancelled, _), *_ = recognizer.waiting
        store.cancel("me", job.id)
        assert recognizer.await_waiting(2) == [b"1", b"other"]  # its place went to the other job
        assert cancelled.cancelled()
        recognizer.answer(b"other")
        (done,) = ended(store, other)
    assert done.state == "done"
    assert store.job("me", job.id).counts["cancelled"] == 3
    assert folders(place) == []


def test_a_stop_gives_back_what_is_not_finished_and_counts_no_attempt(store: JobStore) -> None:
    recognizer = FakeRecognizer(prompt=False)
    job = accepted(store, b"1", b"2", b"3")
    with running(store, recognizer):
        recognizer.await_waiting(2)
    assert all(future.cancelled() for _, future, _ in recognizer.waiting)
    assert store.job("me", job.id).counts["queued"] == 3
    assert claimed(store).attempt == 1


def test_a_stop_waits_for_what_is_running(store: JobStore) -> None:
    recognizer = FakeRecognizer(prompt=False)
    job = accepted(store, b"1", b"2")
    runner = JobsRunner(store, recognizer, 1)
    runner.start()
    recognizer.await_waiting(1)
    stopping = threading.Thread(target=runner.stop, args=(60.0,))
    stopping.start()
    while not runner.is_leaving:
        pass
    recognizer.answer(b"1")
    stopping.join()
    counts = store.job("me", job.id).counts
    assert (counts["done"], counts["queued"]) == (1, 1)


def test_answers_that_cannot_be_written_are_written_later(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database takes nothing when the answer comes; nothing is lost or run again."""
    monkeypatch.setattr("emotape.delivery.api.jobs_runner._AFTER_FAULT_SECONDS", 0.01)
    recognizer = FakeRecognizer(prompt=False)
    jobs = [accepted(store, b"%d" % number) for number in range(2)]
    connection = sqlite_of(store)
    with running(store, recognizer, in_flight=1) as runner:
        recognizer.await_waiting(1)
        connection.execute("PRAGMA query_only = 1")
        recognizer.answer(b"0")
        while runner.fault is None:  # the test's own time limit ends this
            pass
        connection.execute("PRAGMA query_only = 0")
        recognizer.await_waiting(1)
        recognizer.answer(b"1")
        assert [job.state for job in ended(store, *jobs)] == ["done", "done"]
    assert recognizer.heard == [b"0", b"1"]


def test_answers_are_told_and_a_listener_that_fails_harms_nothing(store: JobStore) -> None:
    told: list[tuple[str, float]] = []

    def listen(claim: object, predictions: tuple[object, ...]) -> None:
        told.append((claim.caller, sum(each.seconds for each in predictions)))  # type: ignore[attr-defined]
        raise RuntimeError("a listener's own trouble")

    job = accepted(store, b"1", b"2")
    runner = JobsRunner(store, FakeRecognizer(), 2, listen)
    runner.start()
    ended(store, job)
    runner.stop(0)
    assert told == [("me", 1.0), ("me", 1.0)]


def test_upkeep_deletes_what_is_too_old(place: Place) -> None:
    place.options = StoreOptions(keep_seconds=10)
    with place.opened() as store:
        job = accepted(store)
        with running(store, FakeRecognizer()):
            ended(store, job)
        place.clock.now += 11
        fresh = accepted(store)
        with running(store, FakeRecognizer()):
            ended(store, fresh)
        assert [each.id for each in store.jobs("me", 10)] == [fresh.id]

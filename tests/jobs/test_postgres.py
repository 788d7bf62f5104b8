"""A real PostgreSQL that several processes share, and that stalls, restarts, crashes and is away."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emotape.delivery.api.durable import DurableOptions, Jobs
from emotape.delivery.api.service import Service
from emotape.errors import BadRequest, EngineFault, NotReady
from emotape.store.history import History, HistoryOptions
from emotape.store.jobs import Claim, JobStore, Outcome, StoreOptions, Submission, Upload, in_postgres, work
from emotape.store.postgres_connection import Impatient, conninfo_of
from tests.api.conftest import visiting
from tests.jobs.conftest import (
    SPEECH,
    Clock,
    Place,
    accepted,
    await_reachable,
    claimed,
    cut_off,
    finish_all,
    followed,
    form,
    serving,
    uploads,
)
from tests.jobs.fakes import SECOND, FakeRecognizer
from tests.jobs.postgres_server import PostgresServer, needs_postgres
from tests.jobs.test_runner import ended, running
from tests.page.fake import prediction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emotape.recognizer import Recognizer

pytestmark = needs_postgres
ANSWER = prediction(SECOND)


@pytest.fixture
def kind() -> str:
    return "postgres"


@pytest.fixture
def away(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """Give a server that is down; it is up again for the next test."""
    postgres.stop()
    yield postgres
    if not postgres.is_up:
        postgres.start()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a runner look again soon after a fault."""
    monkeypatch.setattr("emotape.delivery.api.jobs_runner._AFTER_FAULT_SECONDS", 0.05)


# Several processes


def test_processes_side_by_side_answer_everything_once(place: Place) -> None:
    """Two stores, two threads at each: long jobs and short ones, and every recording in one claim alone."""
    with place.opened() as one, place.opened() as other:
        jobs = [accepted(one, *[b"x"] * count) for count in (30, 1, 5, 1, 20)]
        claims: list[tuple[str, int]] = []

        def work_on(store: JobStore) -> None:
            while claim := store.claim():
                claims.append((claim.job, claim.place))
                store.finish([Outcome(claim, b"answer")])

        threads = [threading.Thread(target=work_on, args=(store,)) for store in (one, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(claims) == len(set(claims)) == 57
        for job in jobs:
            events = other.events(job.id)
            assert [event.number for event in events] == sorted(event.number for event in events)
            assert sum(event.facts["state"] == "done" for event in events if event.kind == "file") == job.files
            assert events[-1].facts["state"] == "done"


def test_a_job_that_is_cancelled_while_it_ends_ends_once(place: Place) -> None:
    with place.opened() as one, place.opened() as other:
        for _ in range(15):
            job = accepted(one)
            claim, together = claimed(other), threading.Barrier(2)

            def end(claim: Claim = claim, together: threading.Barrier = together) -> None:
                together.wait()
                other.finish([Outcome(claim, b"answer")])

            thread = threading.Thread(target=end)
            thread.start()
            together.wait()
            one.cancel("me", job.id)
            thread.join()
            states = [event.facts["state"] for event in one.events(job.id) if event.kind == "job"]
            assert states in (["queued", "running", "done"], ["queued", "running", "cancelled"])
            assert states[-1] == one.job("me", job.id).state


def test_equal_requests_at_two_processes_are_one_job(place: Place) -> None:
    with place.opened() as one, place.opened() as other:
        found: set[str] = set()
        for turn in range(10):
            together = threading.Barrier(2)

            def submit(store: JobStore, key: str = str(turn), together: threading.Barrier = together) -> None:
                together.wait()
                found.add(store.accept(Submission("me", key=key), uploads(b"same"))[0].id)

            threads = [threading.Thread(target=submit, args=(store,)) for store in (one, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert {job.id for job in one.jobs("me", 100)} == found
        assert (len(found), len(place.uploads())) == (10, 10)


_WORKER = """
import sys, time
from emotape.store.jobs import JobStore, in_postgres
store = JobStore(in_postgres(sys.argv[1]))
claim = store.claim()
print(claim.path.read_bytes().decode(), flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_ran_is_run_again_and_once(place: Place, postgres: PostgresServer) -> None:
    with place.opened() as store:
        job = accepted(store, b"one", b"two")
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, postgres.url], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        assert process.stdout is not None
        with process.stdout as told:
            assert told.readline() == "one\n"
            store.recover()
            assert claimed(store).place == 1  # the other one's is its own as long as it lives
            process.send_signal(signal.SIGKILL)
            process.wait()
        while not (claim := recovered(store)):  # the server sees the connection end a moment later
            pass
        assert (claim.place, claim.attempt) == (0, 2)
        assert store.job("me", job.id).counts["running"] == 2


def recovered(store: JobStore) -> Claim | None:
    store.recover()
    return store.claim()


def test_others_hear_of_changes(place: Place) -> None:
    heard, changed = set(), threading.Condition()

    def hear(job: str) -> None:
        with changed:
            heard.add(job)
            changed.notify_all()

    with place.opened() as one, place.opened() as other:
        stop = one.listen(hear)
        await_reachable(one)
        job = accepted(other)
        with changed:
            assert changed.wait_for(lambda: job.id in heard, 60)
        heard.clear()
        come_back = cut_off(place, one)
        missed = accepted(other)
        come_back()
        with changed:
            assert changed.wait_for(lambda: "" in heard, 60), "what was missed may be any job"
        assert missed.id not in heard
        stop()


def test_each_call_is_made_by_one_process_and_by_another_if_that_dies(place: Place) -> None:
    with place.opened() as one, place.opened() as other:
        for _ in range(4):
            accepted(one, callback="https://hooks.example.com/")
        finish_all(one)
        mine, theirs = one.claim_callback(), [other.claim_callback() for _ in range(4)]
        assert mine is not None
        assert theirs.pop() is None
        assert len({mine.id, *(call.id for call in theirs if call is not None)}) == 4
        assert one.next_callback() is None
        come_back = cut_off(place, other)
        one.recover()
        again = [one.claim_callback() for _ in range(4)]
        assert again.pop() is None
        come_back()
        for call in theirs:
            assert call is not None
            other.callback_failed(call, "500", 600.0)
        for call in again:
            assert call is not None
            one.callback_delivered(call)
        assert one.next_callback() is None, "who had lost a call changed nothing of it"


def test_a_job_is_followed_at_another_server_than_the_one_that_works_on_it(
    postgres: PostgresServer, tmp_path: Path, recognizer: Recognizer
) -> None:
    """With webhooks, history and results: whatever the first server took on, the second one can tell."""
    idle = Jobs(DurableOptions(tmp_path / "idle", database_url=postgres.url), recognizer)
    service = Service(recognizer, jobs=idle, history=idle.history)
    service.readiness.mark_ready()
    with serving(recognizer, tmp_path / "working", database_url=postgres.url), visiting(service) as client:
        job = client.post("/v1/jobs", files=form(SPEECH.read_bytes(), b"no audio")).json()["id"]
        told = [event["data"]["state"] for event in followed(client, job) if event["event"] in ("job", "file")]
        assert (told[0], told[-1], len(told)) == ("queued", "done", 7)
        results = client.get(f"/v1/jobs/{job}/results").json()["results"]
        assert [result["state"] for result in results] == ["done", "failed"]
    idle.close()
    assert postgres.ask("SELECT id FROM history") == [(job,)]
    assert postgres.ask("SELECT folder FROM uploads") == []
    assert not (tmp_path / "idle").exists()


# What fails


def test_a_server_that_restarts_costs_nothing(place: Place, postgres: PostgresServer, quick: None) -> None:
    """Both ways down, in the middle of running: what was accepted is answered, and answered once."""
    recognizer = FakeRecognizer(prompt=False)
    with place.opened() as store, running(store, recognizer) as runner:
        for mode in ("fast", "immediate"):
            jobs = [accepted(store, b"%s %d" % (mode.encode(), number)) for number in range(3)]
            busy = recognizer.await_waiting(2)
            postgres.stop(mode)
            for content in busy:
                recognizer.answer(content)
            while runner.fault is None:  # the test's own time limit ends this
                pass
            assert runner.fault.code == "database_unreachable"
            with pytest.raises(NotReady):
                accepted(store)
            postgres.start()
            recognizer.answer(recognizer.await_waiting(1)[0])
            await_reachable(store)
            assert {job.state for job in ended(store, *jobs)} == {"done"}
        events = [event for job in store.jobs("me", 99) for event in store.events(job.id) if event.kind == "file"]
        assert sum(event.facts["state"] == "done" for event in events) == 6
    assert len(recognizer.heard) == len(set(recognizer.heard)) == 6


def test_a_server_that_is_away_is_told_at_once_and_awaited(away: PostgresServer) -> None:
    store = JobStore(in_postgres(away.url.replace("postgres@", "postgres:hush@")))
    for _ in range(2):
        with pytest.raises(NotReady) as refused:
            accepted(store)
        assert (refused.value.code, refused.value.retry_after) == ("database_unreachable", 5.0)
        for language in ("en", "zh"):
            text = refused.value.text(language)
            assert f"127.0.0.1:{away.port}" in text.cause
            assert "hush" not in text.cause
    away.start()
    await_reachable(store)
    accepted(store)
    assert finish_all(store) == 1
    store.close()
    store._database.close()


def test_a_server_that_stalls_holds_nobody_for_long(
    place: Place, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither answers nor closes its connections; when it goes on, so does everything."""
    with place.opened() as store:
        job = accepted(store)
        monkeypatch.setattr(Impatient, "patience", 0.3)
        postgres.stall(signal.SIGSTOP)
        try:
            with pytest.raises(NotReady) as refused:
                store.job("me", job.id)
        finally:
            postgres.stall(signal.SIGCONT)
        assert refused.value.code == "database_unreachable"
        monkeypatch.undo()
        await_reachable(store)
        assert finish_all(store) == 1


def test_connections_that_broke_while_they_lay_idle_are_not_noticed(place: Place, postgres: PostgresServer) -> None:
    with place.opened() as store:
        accepted(store)
        ours = "application_name = 'emotape'"
        session = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
        postgres.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours} AND pid NOT IN ({session})")  # noqa: S608
        assert finish_all(store) == 1


def test_a_claim_whose_end_was_lost_on_the_way_is_nobodys(place: Place) -> None:
    """The server had written it when the connection broke; nobody knows that he should run it."""
    with place.opened() as store:
        accepted(store, b"1", b"2")
        known = claimed(store)
        with store._database.change() as connection:
            assert work.claim(connection, store._member.name, None, 0.0) is not None
        assert store.claim() is None
        store.recover()
        again = claimed(store)
        assert (again.place, again.attempt) == (1, 1)
        store.finish([Outcome(known, b"1"), Outcome(again, b"2")])
        assert store.job("me", known.job).counts["done"] == 2


def test_an_acceptance_whose_end_was_lost_on_the_way_keeps_its_recordings(place: Place) -> None:
    with place.opened() as store:
        job = accepted(store, b"1")
        store._uploads.abandon(job.id)
        assert claimed(store).path.read_bytes() == b"1"


def test_a_broken_disk_for_what_was_claimed_leaves_it_queued(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with place.opened() as store:
        accepted(store)
        monkeypatch.setattr("tempfile.mkstemp", broken)
        with pytest.raises(EngineFault) as failed:
            store.claim()
        assert failed.value.code == "jobs_store_unusable"
        monkeypatch.undo()
        assert claimed(store).attempt == 1


def broken(**_: object) -> None:
    raise OSError("broken")


# What is kept


def test_large_recordings_go_there_and_back_whole(place: Place) -> None:
    content = os.urandom(3 * 1024**2 + 17)
    with place.opened() as store:
        accepted(store, content, b"")
        first, second = claimed(store), claimed(store)
        assert first.path.read_bytes() == content
        assert second.path.read_bytes() == b""
        assert first.path.stat().st_mode & 0o077 == 0
        store.finish([Outcome(first, b"1")])
        assert not first.path.exists()
        store.cancel("me", second.job)
        assert store.withdrawn([second]) == [second]
        assert not second.path.exists()


def test_what_killed_processes_brought_here_is_removed(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of those that live, or of others."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("emotape.store.jobs.chunks._YOUNG", -1.0)
    dead = tmp_path / "emotape-jobs-dead"
    for folder in (dead, tmp_path / "emotape-jobs-unlocked", tmp_path / "other"):
        folder.mkdir()
        (folder / "recording").touch()
    (dead / "in-use").touch()
    with place.opened() as store, place.opened() as other:
        accepted(store, b"1", b"2")
        mine, theirs = claimed(store), claimed(other)
        assert mine.path.read_bytes() + theirs.path.read_bytes() == b"12"
        assert not dead.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"emotape-jobs-unlocked", "other"}


def test_a_recording_whose_job_goes_away_meanwhile_is_not_there(place: Place) -> None:
    with place.opened() as store, place.opened() as other:
        job = accepted(store, b"content")
        other._uploads.remove(job.id)
        assert not claimed(store).path.exists()


def test_uploads_without_a_job_and_leftovers_are_swept(place: Place, postgres: PostgresServer) -> None:
    with place.opened() as store:
        waiting, over = accepted(store, b"1"), accepted(store, b"2")
        for folder in ("old", "young"):
            store._uploads.write(folder, uploads(b"half"))
        postgres.ask("UPDATE uploads SET uploaded = uploaded - 4000 WHERE folder IN ('old', %s)", (waiting.id,))
        postgres.ask("UPDATE jobs SET state = 'cancelled', finished = 1 WHERE id = %s", (over.id,))
        store.recover()
        assert sorted(place.uploads()) == sorted([waiting.id, "young"])


def test_an_upload_that_was_swept_is_not_accepted(place: Place, postgres: PostgresServer) -> None:
    with place.opened() as store:
        upload = Upload("swept", io.BytesIO(b"1"))
        write = store._uploads.write

        def swept(folder: str, coming: list[Upload]) -> object:
            written = write(folder, coming)
            postgres.ask("DELETE FROM uploads")
            return written

        store._uploads.write = swept  # type: ignore[method-assign, assignment]
        with pytest.raises(NotReady):
            store.accept(Submission("me"), [upload])
        assert store.jobs("me", 9) == []


def test_many_jobs_expire_in_more_than_one_transaction(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotape.store.jobs.retention.AT_ONCE", 2)
    place.options = StoreOptions(keep_seconds=10)
    with place.opened() as store:
        for _ in range(5):
            accepted(store)
        finish_all(store)
        place.clock.now += 11
        store.retain()
        assert store.jobs("me", 9) == []


def test_text_that_the_database_cannot_hold_is_held_as_far_as_it_can(place: Place) -> None:
    with place.opened() as store:
        hostile = ["a\0b", "\ud800", "x" * 10_000, "名"]
        job, _ = store.accept(Submission("me", {"label": "\0"}), [Upload(name, io.BytesIO(b"1")) for name in hostile])
        finish_all(store)
        names = [result.name for result in store.results("me", job.id)]
        assert names == ["a\ufffdb", "?", "x" * 10_000, "名"]
        assert store.job("me", job.id).options == {"label": "\0"}
        with pytest.raises(Exception, match="job_unknown"):
            store.job("me", "\0")


def test_the_history_is_the_same_there(postgres: PostgresServer) -> None:
    clock = Clock()
    database = in_postgres(postgres.url).database
    history = History(database, HistoryOptions(rows=3, keep_seconds=60), clock)
    for number in range(5):
        history.record("r", "me", f"{number}\0", ANSWER)
        history.flush()
    history.record("r", "you", "other", replace(ANSWER, uncertain_below=1.1))
    history.flush()
    assert [line.uncertain for who in ("me", "you") for line in history.lines(who, 1)] == [None, True]
    emotion = ANSWER.emotion
    assert history.lines("me", 9)[0].file == "4\ufffd"
    assert history.lines("me", 9) == history.lines("me", 9, emotion=emotion)
    first, *rest = history.lines("me", 9)
    assert history.lines("me", 9, before=first.number) == rest
    assert history.lines("me", 9, emotion="none such") == []
    assert history.clear("me") == len(rest) + 1
    clock.now += 61
    assert history.lines("you", 9) == []
    history.close()
    database.close()


def test_a_history_of_an_older_program_is_brought_up_to_date(postgres: PostgresServer) -> None:
    with closing(in_postgres(postgres.url).database) as database, closing(History(database)) as history:
        history.record("r", "me", "old", replace(ANSWER, uncertain_below=1.1))
    postgres.ask("ALTER TABLE history DROP COLUMN uncertain")
    postgres.ask("DELETE FROM versions WHERE version = 3")
    with closing(in_postgres(postgres.url).database) as database, closing(History(database)) as history:
        history.record("r", "me", "new", replace(ANSWER, uncertain_below=0.0))
        history.flush()
        assert [(line.file, line.uncertain) for line in history.lines("me", 9)] == [("new", False), ("old", None)]


def test_lines_of_the_history_wait_for_a_server_that_is_away(away: PostgresServer) -> None:
    database = in_postgres(away.url).database
    history = History(database, clock=Clock())
    history.record("r", "me", "kept", ANSWER)
    history.flush()
    history.record("r", "me", "kept too", ANSWER)
    away.start()
    while away.ask("SELECT to_regclass('emotape.history') IS NULL")[0][0]:
        pass
    while len(found := away.ask("SELECT file FROM emotape.history ORDER BY number")) < 2:
        pass
    assert found == [("kept",), ("kept too",)]
    history.close()
    database.close()


# The address


@pytest.mark.parametrize(
    "url", ["", "mysql://host/db", "postgresql://user:hush@host/x?nonsense=1", "host=a password=hush"]
)
def test_an_address_that_makes_no_sense_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        in_postgres(url)
    assert refused.value.code == "bad_database_url"
    assert "hush" not in str(refused.value)


def test_an_addresss_own_wishes_are_kept() -> None:
    conninfo, place = conninfo_of(
        "postgresql://u:p@db:5433/app?sslmode=require&options=-c%20work_mem%3D8MB&connect_timeout=9"
    )
    assert place == "db:5433/app"
    for wish in ("sslmode=require", "work_mem=8MB", "connect_timeout=9", "search_path=emotape", "password=p"):
        assert wish in conninfo


def test_a_database_of_a_newer_program_is_left_alone(place: Place, postgres: PostgresServer) -> None:
    with place.opened() as store:
        accepted(store)
    postgres.ask("INSERT INTO versions (version) VALUES (99)")
    try:
        with place.opened() as store, pytest.raises(EngineFault) as refused:
            accepted(store)
        assert refused.value.code == "database_newer"
    finally:
        postgres.ask("DELETE FROM versions WHERE version = 99")


_WITHOUT = """
import sys
sys.modules["psycopg"] = None
from emotape.errors import BadRequest
from emotape.store.jobs import in_postgres
try:
    in_postgres("postgresql://host/database")
except BadRequest as error:
    print(error.code)
"""


def test_without_its_package_that_is_said(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == "postgres_not_installed\n", done.stderr

"""The store of jobs: accepted durably, run once, cancelled, deleted, kept within bounds."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emotape.errors import BadAudio, BadRequest, Conflict, EngineFault, NotFound, Overloaded
from emotape.store.jobs import Job, JobStore, Outcome, StoreOptions, Submission, Upload, in_folder
from emotape.store.schema import STEPS
from emotape.store.sqlite import SqliteDatabase
from tests.jobs.conftest import BOTH, Place, accepted, claimed, cut_off, finish_all, folders, sqlite_of, uploads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@BOTH
def test_an_accepted_job_runs_to_its_end(store: JobStore) -> None:
    job = accepted(store, b"one", b"two")
    assert (job.state, job.files, job.bytes) == ("queued", 2, 6)
    first = claimed(store)
    assert first.path.read_bytes() == b"one"
    assert store.job("me", job.id).state == "running"
    second = claimed(store)
    store.finish([Outcome(second, b"2"), Outcome(first, error=BadAudio("empty_file"))])
    ended = store.job("me", job.id)
    assert (ended.state, ended.counts["done"], ended.counts["failed"]) == ("done", 1, 1)
    failed, done = store.results("me", job.id)
    assert (failed.place, failed.answer) == (0, None)
    assert isinstance(failed.error, BadAudio)
    assert failed.error.text("zh").message == BadAudio("empty_file").text("zh").message
    assert (done.place, done.answer, done.error) == (1, b"2", None)


@BOTH
def test_a_job_of_which_nothing_was_answered_has_failed(store: JobStore) -> None:
    job = accepted(store)
    store.finish([Outcome(claimed(store), error=BadAudio("empty_file"))])
    assert store.job("me", job.id).state == "failed"


@BOTH
def test_recordings_are_gone_when_their_job_ends(store: JobStore, place: Place) -> None:
    accepted(store, b"one", b"two")
    first = claimed(store)
    store.finish([Outcome(first, b"1")])
    assert len(folders(place)) == 1
    store.finish([Outcome(claimed(store), b"2")])
    assert folders(place) == []


@BOTH
def test_recordings_stay_where_that_is_wanted_until_the_job_is_deleted(place: Place) -> None:
    place.options = StoreOptions(keep_uploads=True)
    with place.opened() as store:
        job = accepted(store)
        finish_all(store)
        store.recover()
        assert len(folders(place)) == 1
        store.delete("me", job.id)
        assert folders(place) == []


@BOTH
def test_an_outcome_counts_once(store: JobStore) -> None:
    job = accepted(store)
    claim = claimed(store)
    store.finish([Outcome(claim, b"first"), Outcome(claim, b"second")])
    store.finish([Outcome(claim, b"third")])
    (result,) = store.results("me", job.id)
    assert result.answer == b"first"
    assert [event.facts["state"] for event in store.events(job.id) if event.kind == "file"] == ["running", "done"]


@BOTH
def test_what_is_released_runs_again_and_its_old_claim_is_void(store: JobStore) -> None:
    job = accepted(store)
    old = claimed(store)
    store.release([old], were_run=True)
    new = claimed(store)
    assert (new.number, new.attempt) == (old.number, old.attempt + 1)
    store.finish([Outcome(old, b"old")])
    assert list(store.results("me", job.id)) == []
    store.finish([Outcome(new, b"new")])
    (result,) = store.results("me", job.id)
    assert result.answer == b"new"


@BOTH
def test_jobs_take_turns(store: JobStore) -> None:
    """A job of many recordings does not hold up one that comes later."""
    long = accepted(store, b"1", b"2", b"3")
    store.finish([Outcome(claimed(store), b"")])
    short = accepted(store, b"4")
    assert [claimed(store).job for _ in range(3)] == [short.id, long.id, long.id]
    assert store.claim() is None


@BOTH
def test_only_smaller_recordings_are_claimed_when_that_is_asked(store: JobStore) -> None:
    accepted(store, b"large one", b"small")
    assert claimed(store).place == 0
    accepted(store, b"large one", b"small")
    places = {claim.place for claim in iter(lambda: store.claim(smaller_than=9), None)}
    assert places == {1}
    assert claimed(store).place == 0


@BOTH
def test_equal_requests_under_one_key_are_one_job(store: JobStore, place: Place) -> None:
    asked = Submission("me", {"granularity": "frame"}, key="k")
    job, is_new = store.accept(asked, uploads(b"one", b"two"))
    again, is_new_again = store.accept(asked, uploads(b"one", b"two"))
    assert (is_new, is_new_again, again.id) == (True, False, job.id)
    assert len(folders(place)) == 1
    other, is_other = store.accept(replace(asked, caller="you"), uploads(b"one", b"two"))
    assert is_other
    assert other.id != job.id


@pytest.mark.parametrize(
    ("asked", "contents"),
    [
        (Submission("me", {"granularity": "frame"}, key="k"), (b"one", b"tw0")),
        (Submission("me", {"granularity": "frame"}, key="k"), (b"one", b"two", b"")),
        (Submission("me", {"granularity": "frame"}, key="k"), (b"onet", b"wo")),
        (Submission("me", {"granularity": "utterance"}, key="k"), (b"one", b"two")),
        (Submission("me", {"granularity": "frame"}, "k", "https://hooks.example.com"), (b"one", b"two")),
    ],
)
@BOTH
def test_a_key_is_not_taken_for_something_else(
    store: JobStore, place: Place, asked: Submission, contents: tuple[bytes, ...]
) -> None:
    job, _ = store.accept(Submission("me", {"granularity": "frame"}, key="k"), uploads(b"one", b"two"))
    with pytest.raises(Conflict) as refused:
        store.accept(asked, uploads(*contents))
    assert (refused.value.code, refused.value.facts["job"]) == ("job_key_reused", job.id)
    assert len(folders(place)) == 1


def test_many_submitters_at_once_lose_nothing_and_share_what_is_equal(store: JobStore) -> None:
    """Eight threads send twelve jobs each; those under one key become one."""
    found: list[list[Job]] = [[] for _ in range(8)]
    together = threading.Barrier(8)

    def submit(number: int) -> None:
        together.wait()
        for turn in range(12):
            shared = Submission("me", {}, key=f"shared {turn}")
            job, _ = store.accept(shared, uploads(b"the same"))
            own, is_new = store.accept(Submission("me"), uploads(b"%d %d" % (number, turn)))
            assert is_new
            found[number] += [job, own]

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {job.id for jobs in found for job in jobs}
    assert len(ids) == 12 + 8 * 12
    assert finish_all(store) == len(ids)


@BOTH
def test_two_processes_at_one_store_never_run_the_same_recording(place: Place) -> None:
    with place.opened() as one, place.opened() as other:
        accepted(one, *[b"%d" % number for number in range(10)])
        claims: list[int] = []

        def work(store: JobStore) -> None:
            while claim := store.claim():
                claims.append(claim.number)
                store.finish([Outcome(claim, b"")])

        threads = [threading.Thread(target=work, args=(store,)) for store in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claims) == list(range(1, 11))


@BOTH
def test_a_cancelled_job_keeps_what_is_finished_and_ends_at_once(store: JobStore, place: Place) -> None:
    job = accepted(store, b"1", b"2", b"3")
    store.finish([Outcome(claimed(store), b"answer")])
    running = claimed(store)
    cancelled = store.cancel("me", job.id)
    assert cancelled.state == "cancelled"
    assert cancelled.counts == {"queued": 0, "running": 0, "done": 1, "failed": 0, "cancelled": 2}
    assert store.withdrawn([running]) == [running]
    store.finish([Outcome(running, b"too late")])
    assert [result.answer for result in store.results("me", job.id)] == [b"answer", None, None]
    assert store.claim() is None
    assert folders(place) == []


@BOTH
def test_cancelling_what_has_ended_changes_nothing(store: JobStore) -> None:
    job = accepted(store)
    finish_all(store)
    before, events = store.job("me", job.id), store.events(job.id)
    assert store.cancel("me", job.id) == before
    assert store.events(job.id) == events


@BOTH
def test_a_deleted_job_is_gone_whatever_its_state(store: JobStore, place: Place) -> None:
    for _ in range(3):
        job = accepted(store)
    running = claimed(store)
    finished = claimed(store)
    store.finish([Outcome(finished, b"answer")])
    for number in (running.job, finished.job, job.id):
        store.delete("me", number)
        with pytest.raises(NotFound):
            store.job("me", number)
    store.finish([Outcome(running, b"too late")])
    assert store.jobs("me", 10) == []
    assert folders(place) == []


@BOTH
def test_nobody_sees_the_jobs_of_others(store: JobStore) -> None:
    job = accepted(store)
    assert store.jobs("you", 10) == []
    uses: list[Callable[[str, str], object]] = [store.job, store.cancel, store.delete]
    uses.append(lambda caller, name: list(store.results(caller, name)))
    for use in uses:
        with pytest.raises(NotFound) as refused:
            use("you", job.id)
        assert refused.value.code == "job_unknown"
    assert store.job("me", job.id).state == "queued"


@BOTH
def test_a_list_is_read_page_by_page(store: JobStore) -> None:
    ids = [accepted(store).id for _ in range(5)]
    seen: list[str] = []
    while page := store.jobs("me", 2, seen[-1] if seen else None):
        seen += [job.id for job in page]
    assert seen == ids[::-1]


@BOTH
def test_events_tell_the_whole_story_from_any_point(store: JobStore) -> None:
    job = accepted(store, b"1", b"2")
    finish_all(store)
    events = store.events(job.id)
    told = [(event.kind, event.facts["state"], event.facts.get("file")) for event in events]
    assert told == [
        ("job", "queued", None),
        ("job", "running", None),
        ("file", "running", 0),
        ("file", "done", 0),
        ("file", "running", 1),
        ("file", "done", 1),
        ("job", "done", None),
    ]
    for number, event in enumerate(events):
        assert store.events(job.id, after=event.number) == events[number + 1 :]


@BOTH
def test_listeners_hear_of_every_change_until_they_leave(store: JobStore) -> None:
    heard: list[str] = []
    stop = store.listen(lambda job: heard.append(job) if job else None)  # "" stands for any job
    job = accepted(store)
    finish_all(store)
    assert len(heard) == 3
    stop()
    store.delete("me", job.id)
    assert set(heard) == {job.id}


@BOTH
def test_a_job_without_recordings_is_refused(store: JobStore, place: Place) -> None:
    with pytest.raises(BadRequest) as refused:
        store.accept(Submission("me"), [])
    assert refused.value.code == "job_without_files"
    assert folders(place) == []


def test_names_are_shown_and_never_used_as_paths(store: JobStore, place: Place) -> None:
    hostile = ["../../escape", "/etc/passwd", "a\0b", "\ud800", "x" * 10_000]
    job, _ = store.accept(Submission("me"), [Upload(name, io.BytesIO(b"1")) for name in hostile])
    assert {path.name for path in (place.folder / "uploads").rglob("*") if path.is_file()} == set("01234")
    finish_all(store)
    names = [result.name for result in store.results("me", job.id)]
    assert names[:3] == hostile[:3]


# What dies


@BOTH
def test_what_a_dead_process_ran_is_run_again_and_once(place: Place) -> None:
    """A process that lives keeps its claims; one that is gone loses them to whoever recovers first."""
    dying, living = place.open(), place.open()
    job = accepted(dying, b"1", b"2")
    lost = claimed(dying)
    kept = claimed(living)
    with place.opened() as third:
        third.recover()
        assert third.claim() is None
        come_back = cut_off(place, dying)
        third.recover()
        again = claimed(third)
        assert (again.number, again.attempt) == (lost.number, 2)
        come_back()
        dying.finish([Outcome(lost, b"from the grave")])
        third.finish([Outcome(again, b"1")])
        living.finish([Outcome(kept, b"2")])
        assert [result.answer for result in third.results("me", job.id)] == [b"1", b"2"]
    for left in (dying, living):
        left.close()
        left._database.close()


@BOTH
def test_a_recording_at_which_processes_keep_dying_is_given_up(place: Place) -> None:
    place.options = StoreOptions(attempts=3)
    with place.opened() as store:
        job = accepted(store, b"deadly", b"harmless")
    for _ in range(3):
        store = place.open()
        store.recover()
        assert claimed(store).place == 0
        store.close()
        store._database.close()
    with place.opened() as store:
        store.recover()
        assert finish_all(store) == 1
        deadly, harmless = store.results("me", job.id)
        assert deadly.error is not None
        assert (deadly.error.code, deadly.error.facts) == ("job_file_abandoned", {"attempts": 3})
        assert harmless.answer == b"answer"
        assert store.job("me", job.id).state == "done"


def test_uploads_of_a_job_that_was_never_accepted_are_swept(place: Place) -> None:
    dying, living = place.open(), place.open()
    accepted(living)
    left, coming = dying._uploads.folder_for("never"), living._uploads.folder_for("coming")
    dying._uploads.write(left, uploads(b"half"))
    living._uploads.write(coming, uploads(b"half"))
    dying.close()
    living.recover()
    assert left not in folders(place)
    assert coming in folders(place)
    assert len(folders(place)) == 2
    assert finish_all(living) == 1
    living.close()
    for store in (dying, living):
        store._database.close()


@BOTH
def test_a_broken_upload_leaves_nothing(store: JobStore, place: Place) -> None:
    class Broken(io.BytesIO):
        def read(self, _: int | None = -1) -> bytes:
            raise ConnectionResetError("the sender left")

    with pytest.raises(EngineFault) as failed:
        store.accept(Submission("me"), [*uploads(b"whole"), Upload("broken", Broken())])
    assert failed.value.code == "jobs_store_unusable"
    assert folders(place) == []
    assert store.jobs("me", 10) == []


def test_a_full_database_refuses_and_what_was_accepted_goes_on(store: JobStore, place: Place) -> None:
    """SQLite's own limit on pages stands for a full disk: the same error, raised at the same place."""
    job = accepted(store)
    connection = sqlite_of(store)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(EngineFault) as full:
        deque(accepted(store, key=f"{number:1000}") for number in range(100))
    assert full.value.code == "jobs_disk_full"
    connection.execute("PRAGMA max_page_count = 1000000")
    jobs = store.jobs("me", 100)
    assert job.id in {each.id for each in jobs}
    assert len(folders(place)) == len(jobs)
    assert finish_all(store) == len(jobs)


# What is kept


@BOTH
def test_finished_jobs_go_when_their_time_has_come(store: JobStore, place: Place) -> None:
    old, waiting = accepted(store), accepted(store, b"2")
    store.finish([Outcome(claimed(store), b"answer")])
    place.clock.now += store.options.keep_seconds - 1
    store.retain()
    assert len(store.jobs("me", 10)) == 2
    place.clock.now += 2
    store.retain()
    assert [job.id for job in store.jobs("me", 10)] == [waiting.id]
    assert store.events(old.id) == []


@BOTH
def test_the_oldest_finished_jobs_make_room(place: Place) -> None:
    place.options = StoreOptions(max_bytes=100)
    with place.opened() as store:
        ids = []
        for _ in range(3):
            ids.append(accepted(store, b"x" * 30).id)
            finish_all(store, b"y" * 30)
            place.clock.now += 1
        accepted(store, b"x" * 60)
        assert [job.id for job in store.jobs("me", 10)][1:] == [ids[2]]


@BOTH
def test_unfinished_jobs_are_never_given_up_for_new_ones(place: Place) -> None:
    place.options = StoreOptions(max_bytes=100)
    with place.opened() as store:
        accepted(store, b"x" * 60)
        with pytest.raises(Overloaded) as refused:
            accepted(store, b"x" * 60)
        assert (refused.value.code, refused.value.retry_after) == ("jobs_full", 60.0)
        assert len(folders(place)) == 1
        assert finish_all(store) == 1
        accepted(store, b"x" * 60)


def test_the_file_shrinks_when_jobs_go(store: JobStore, place: Place) -> None:
    file = place.folder / "emotape.sqlite3"
    accepted(store)
    finish_all(store, b"z" * 4_000_000)
    sqlite_of(store).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert file.stat().st_size > 4_000_000
    place.clock.now += 10 * store.options.keep_seconds
    store.retain()
    sqlite_of(store).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert file.stat().st_size < 1_000_000


# The file


def test_a_store_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "emotape.sqlite3"
    SqliteDatabase(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(EngineFault) as refused:
        SqliteDatabase(path)
    assert refused.value.code == "jobs_store_newer"


def test_a_store_of_an_older_program_is_brought_up_to_date(tmp_path: Path) -> None:
    """What it holds stays, and what came later works on it."""
    path = tmp_path / "emotape.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(STEPS[0])
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO jobs (id, caller, state, options, fingerprint, folder, bytes, created)"
            " VALUES ('old', 'me', 'queued', '{}', '', 'old', 1, 0)"
        )
        connection.execute("INSERT INTO files (job, place, name, bytes) VALUES (1, 0, 'old.wav', 1)")
        connection.commit()
    with Place(tmp_path).opened() as store:
        assert store.claim_callback() is None
        assert claimed(store).job == "old"


def test_a_file_that_is_no_database_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "emotape.sqlite3"
    path.write_bytes(b"something else " * 1000)
    with pytest.raises(EngineFault) as refused:
        SqliteDatabase(path)
    assert refused.value.code == "jobs_store_unusable"
    assert path.read_bytes() == b"something else " * 1000


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_only_the_servers_user_can_read_what_is_kept(store: JobStore, place: Place) -> None:
    """Even in a folder that others may enter, and whatever the user's usual mask."""
    before = os.umask(0)
    try:
        place.folder.chmod(0o755)
        with Place(place.folder / "new").opened() as fresh:
            accepted(fresh)
        accepted(store)
    finally:
        os.umask(before)
    for path in [place.folder / "uploads", *place.folder.glob("new/emotape.sqlite3*"), place.folder / "new"]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_folder_that_cannot_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "owners").write_text("a file where a folder should be")
    with pytest.raises(EngineFault) as refused:
        in_folder(tmp_path)
    assert refused.value.code == "jobs_store_unusable"
    with pytest.raises(EngineFault) as refused:
        in_folder(tmp_path / "owners")
    assert refused.value.code == "jobs_store_unusable"


def test_acceptance_is_as_durable_as_sqlite_can_make_it(store: JobStore) -> None:
    connection = sqlite_of(store)
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


_FULL = """
import io, resource, sys
from pathlib import Path
from emotape.errors import EngineFault
from emotape.store.jobs import JobStore, Submission, Upload, in_folder

folder = Path(sys.argv[1])
store = JobStore(in_folder(folder))
job, _ = store.accept(Submission("me"), [Upload("fits", io.BytesIO(b"x"))])
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    store.accept(Submission("me"), [Upload("whole", io.BytesIO(b"x")), Upload("large", io.BytesIO(bytes(2_000_000)))])
except EngineFault as error:
    print(error.code, [each.id for each in store.jobs("me", 9)] == [job.id], len(list((folder / "uploads").iterdir())))
"""


def test_a_disk_that_is_full_while_recordings_arrive_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    """The system's own limit on files stands for the disk, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["jobs_disk_full", "True", "1"], done.stderr

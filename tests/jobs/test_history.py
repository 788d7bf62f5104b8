"""The history: one line an answer, kept within bounds, and never in anybody's way."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emotape.store.history import History, HistoryOptions
from emotape.store.schema import STEPS
from emotape.store.sqlite import SqliteDatabase
from tests.jobs.conftest import Clock
from tests.jobs.fakes import SECOND
from tests.page.fake import prediction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANSWER = prediction(SECOND)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "emotape.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def history(database: SqliteDatabase) -> Iterator[History]:
    opened = History(database, clock=Clock())
    yield opened
    opened.close()


def test_lines_say_what_was_answered_and_come_newest_first(history: History) -> None:
    for number in range(3):
        history.record(f"request {number}", "me", f"{number}.wav", ANSWER)
    history.flush()
    lines = history.lines("me", 10)
    assert [line.file for line in lines] == ["2.wav", "1.wav", "0.wav"]
    newest = lines[0]
    assert (newest.id, newest.time, newest.caller) == ("request 2", Clock().now, "me")
    assert (newest.emotion, newest.confidence) == (ANSWER.emotion, ANSWER.confidence)
    assert (newest.seconds, newest.granularity, newest.model) == (1.0, "utterance", "fake")


@pytest.mark.parametrize("threshold", [None, 0.0, 1.1])
def test_lines_say_whether_the_model_was_sure(history: History, threshold: float | None) -> None:
    answer = replace(ANSWER, uncertain_below=threshold)
    history.record("r", "me", "a.wav", answer)
    history.flush()
    (line,) = history.lines("me", 1)
    assert line.uncertain is answer.uncertain


def test_lines_of_an_older_program_stay_and_say_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "emotape.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        for step in STEPS[:2]:
            connection.executescript(step)
        connection.execute("PRAGMA user_version = 2")
        connection.execute(
            "INSERT INTO history (id, time, caller, file, seconds, emotion, confidence, granularity, model)"
            " VALUES ('r', 1800000000, 'me', 'old.wav', 1.5, 'happy', 0.9, 'utterance', 'm')"
        )
        connection.commit()
    with closing(SqliteDatabase(path)) as database, closing(History(database, clock=Clock())) as history:
        history.record("r", "me", "new.wav", replace(ANSWER, uncertain_below=1.1))
        history.flush()
        assert {line.file: line.uncertain for line in history.lines("me", 9)} == {"new.wav": True, "old.wav": None}


def test_pages_and_emotions_choose_lines(history: History) -> None:
    for number in range(5):
        history.record("r", "me", str(number), ANSWER)
    history.flush()
    first = history.lines("me", 2)
    assert [line.file for line in history.lines("me", 2, before=first[-1].number)] == ["2", "1"]
    assert len(history.lines("me", 10, emotion=ANSWER.emotion)) == 5
    assert history.lines("me", 10, emotion="no such") == []


def test_everybody_sees_and_forgets_their_own(history: History) -> None:
    history.record("r", "me", "mine", ANSWER)
    history.record("r", "you", "yours", ANSWER)
    assert history.clear("me") == 1
    assert history.lines("me", 10) == []
    assert [line.file for line in history.lines("you", 10)] == ["yours"]


def test_lines_are_there_after_a_restart(database: SqliteDatabase) -> None:
    first = History(database)
    for number in range(1000):
        first.record("r", "me", str(number), ANSWER)
    first.close()
    assert len(History(database).lines("me", 2000)) == 1000


def test_no_more_lines_are_kept_than_allowed(database: SqliteDatabase) -> None:
    history = History(database, HistoryOptions(rows=10))
    for number in range(35):
        history.record("r", "me", str(number), ANSWER)
        history.flush()
    kept = [line.file for line in history.lines("me", 100)]
    assert kept[0] == "34"
    assert 10 <= len(kept) <= 20
    history.close()


def test_lines_that_are_too_old_are_not_given_and_go(database: SqliteDatabase) -> None:
    clock = Clock()
    history = History(database, HistoryOptions(rows=1, keep_seconds=60), clock)
    history.record("r", "me", "old", ANSWER)
    history.flush()
    clock.now += 61
    assert history.lines("me", 10) == []
    history.record("r", "me", "new", ANSWER)
    history.close()
    with database.read() as connection:
        assert [row["file"] for row in connection.execute("SELECT file FROM history")] == ["new"]


def test_recording_never_raises_and_never_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The database is held by somebody else, then closed, and the history itself is closed: nobody notices."""
    database = SqliteDatabase(tmp_path / "emotape.sqlite3")
    history = History(database)
    with database.change():  # as long as this lasts, nothing can be written
        for number in range(20_000):
            history.record("r", "me", "\ud800" + str(number), ANSWER)
    history.flush()
    kept = len(history.lines("me", 30_000))
    assert 10_000 <= kept <= 20_000
    database.close()
    history.record("r", "me", "lost", ANSWER)
    history.flush()
    history.close()
    history.record("r", "me", "too late", ANSWER)
    assert "lines of the history are lost" in caplog.text


def test_lines_wait_for_room_on_a_full_disk_and_say_so_once(
    database: SqliteDatabase, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    with database.change() as connection:  # the file holds no more pages than it has
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    names = [f"{number}.wav" for number in range(300)]
    for name in names:
        history.record("r", "me", name, ANSWER)
        history.flush()  # a turn of writing each
    assert "are lost" not in caplog.text
    assert caplog.text.count("jobs_disk_full") == 1
    with database.read() as connection:
        connection.execute("PRAGMA max_page_count = 1073741823")
    history.close()
    with database.read() as connection:
        assert [row["file"] for row in connection.execute("SELECT file FROM history ORDER BY number")] == names


def test_many_threads_record_at_once(history: History) -> None:
    def record(caller: str) -> None:
        for number in range(200):
            history.record("r", caller, str(number), ANSWER)

    threads = [threading.Thread(target=record, args=(str(caller),)) for caller in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history.flush()
    for caller in range(8):
        assert [line.file for line in history.lines(str(caller), 1000)] == [str(n) for n in range(199, -1, -1)]

"""The engine of one machine: kept busy, never given more than it takes, each recording answered once."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotape.delivery.offline.forms import JsonRows
from emotape.delivery.offline.item import Item
from emotape.delivery.offline.local import LocalEngine
from emotape.delivery.offline.parquet import ParquetRows
from emotape.delivery.offline.rows import Asked, answer_row
from emotape.engine.flight import LARGE, Room, room_for
from emotape.engine.plan import Machine, plan
from emotape.errors import BadAudio, BadRequest, EngineFault, Overloaded
from tests.delivery.fakes import make_prediction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.engine.result import Prediction

ASKED = Asked(scores=("angry", "happy"))
ROOM = Room(recordings=4, large=1)


@dataclass
class Machinery:
    """Answers one waiting recording whenever another is submitted, and all when `most` wait; refuses beyond `room`."""

    most: int = 3
    room: int = 10**6
    error: Exception | None = None
    queue_seconds: float | None = None
    waiting_seconds: float = 0.0
    waiting: list[tuple[Any, Future[Prediction]]] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    most_large: int = 0

    def submit(self, source: Any, **_: Any) -> Future[Prediction]:
        if len(self.waiting) >= self.room:
            self.answer(1)
            raise Overloaded(retry_after=1.0, waiting=1)
        future: Future[Prediction] = Future()
        self.waiting.append((source, future))
        self.most_large = max(self.most_large, sum(len(each) >= LARGE for each, _ in self.waiting))
        if len(self.waiting) >= self.most or len(source) >= LARGE:
            self.answer(len(self.waiting))
        return future

    def answer(self, count: int) -> None:
        for _ in range(count):
            source, future = self.waiting.pop(0)
            self.seen.append(source)
            if self.error is not None:
                future.set_exception(self.error)
            else:
                future.set_result(make_prediction())


class Busy:
    """Answers one recording after another on a thread, and refuses while `room` are under way."""

    queue_seconds = 1.0

    def __init__(self, room: int, backlog: float) -> None:
        self.waiting_seconds = backlog
        self.most = 0
        self._room = room
        self._under_way: set[Future[Prediction]] = set()
        self._thread = ThreadPoolExecutor(1)

    def submit(self, source: bytes, **_: Any) -> Future[Prediction]:
        self._under_way = {future for future in self._under_way if not future.done()}
        if len(self._under_way) >= self._room:
            raise Overloaded(retry_after=1.0, waiting=1)
        future = self._thread.submit(make_prediction, seconds=float(len(source)))
        self._under_way.add(future)
        self.most = max(self.most, len(self._under_way))
        return future


def items(count: int) -> Iterator[Item]:
    return (Item(f"{number}.wav", b"%d" % number) for number in range(count))


def rows(machinery: Any, given: Any, room: Room = ROOM) -> list[dict[str, Any]]:
    engine = LocalEngine(machinery, ASKED, "en", room)
    return [row for found in engine.rows(given, 8) for row in found]


@given(st.integers(1, 5), st.integers(1, 8), st.sampled_from([0.0, 0.9]), st.integers(0, 30))
def test_every_recording_gets_one_row_however_full_the_queue_is(
    room: int, under_way: int, backlog: float, count: int
) -> None:
    """Refused or not, first come or last; and never more is under way than is allowed."""
    engine = Busy(room, backlog)
    found = rows(engine, items(count), Room(under_way, 1))
    assert sorted(row["path"] for row in found) == sorted(f"{number}.wav" for number in range(count))
    assert all(row["emotion"] == "happy" for row in found)
    assert engine.most <= min(room, under_way if backlog == 0.0 else 1)


@pytest.mark.parametrize("threshold", [None, 0.0, 1.1])
def test_a_row_says_whether_the_model_is_sure(threshold: float | None) -> None:
    prediction = make_prediction(uncertain_below=threshold)
    row = answer_row(Item("a", b""), prediction, ASKED)
    assert row["uncertain"] is prediction.uncertain
    (told,) = map(json.loads, JsonRows(ASKED).encode([row]).splitlines())
    assert told["uncertain"] is prediction.uncertain
    table = pa.ipc.read_record_batch(pa.py_buffer(ParquetRows(ASKED).encode([row])), ParquetRows(ASKED).schema)
    assert table.column("uncertain").to_pylist() == [prediction.uncertain]


def test_what_names_no_recording_is_a_row_without_the_engine() -> None:
    given = [Item("a", BadRequest("batch_no_recording")), Item("b", b"1"), Item("c", BadAudio("empty_file"))]
    found = {row["path"]: row for row in rows(Machinery(most=1), given)}
    assert [found[name].get("error_code") for name in "abc"] == ["batch_no_recording", None, "empty_file"]
    assert found["c"]["error_message"] == BadAudio("empty_file").text("en").message


def test_a_recording_that_never_fits_is_refused_and_may_be_tried_again() -> None:
    refusing = Machinery(room=0)
    refusing.answer = lambda count: None  # type: ignore[method-assign]
    (row,) = rows(refusing, items(1))
    assert (row["error_code"], row["error_passing"]) == ("overloaded", True)


def test_large_recordings_go_one_by_one() -> None:
    machinery = Machinery(most=2)
    given = [Item(str(number), bytes(LARGE)) for number in range(4)]
    assert len(rows(machinery, given)) == 4
    assert machinery.most_large == 1


def test_an_engine_that_answers_nothing_any_more_ends_the_run() -> None:
    machinery = Machinery(most=1, error=EngineFault("run_failed", reason="no device"))
    with pytest.raises(EngineFault):
        rows(machinery, items(1000))
    assert len(machinery.seen) < 100


def test_leaving_withdraws_what_is_under_way_and_reads_ahead_only_a_little() -> None:
    machinery = Machinery(most=3)
    drawn: list[str] = []

    def drawing() -> Iterator[Item]:
        for item in items(100):
            drawn.append(item.name)
            yield item

    found = LocalEngine(machinery, ASKED, "en", ROOM).rows(drawing(), 8)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert all(future.cancelled() or future.done() for _, future in machinery.waiting)
    assert len(drawn) <= ROOM.recordings + 3


def test_room_follows_the_plan_and_large_files_the_memory() -> None:
    small = room_for(plan(Machine(cores=2), 10**6), 8 * 1024**3)
    large = room_for(plan(Machine(cores=32), 10**6), 512 * 1024**3)
    assert small.large == 1
    assert 8 <= small.recordings <= large.recordings <= 768
    assert large.large > small.large
    assert room_for(plan(Machine(cores=2), 10**6), None).large == 1


def test_a_file_that_is_gone_is_no_large_one(tmp_path: Path) -> None:
    class Lost(Machinery):
        def submit(self, source: Any, **_: Any) -> Future[Prediction]:
            assert isinstance(source, Path)
            raise BadAudio("no_such_file", path=str(source))

    with pytest.raises(BadAudio):
        rows(Lost(), [Item("gone", tmp_path / "gone.wav")])

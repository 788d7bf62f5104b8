"""Outputs: whatever moment a kill strikes, no recording is lost and none stands twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from emotape.delivery.offline.answers import packed
from emotape.delivery.offline.item import Column, Item
from emotape.delivery.offline.output import HEADER, JOURNAL, Output, Place
from emotape.delivery.offline.run import run
from emotape.errors import BadRequest
from tests.offline.conftest import Numbers, Results, form, row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from emotape.delivery.offline.answers import Answers
    from emotape.delivery.offline.forms import Form

PLACES = {
    "parquet": Place(Path("out"), rows=4),
    "single": Place(Path("out.parquet.parts"), Path("out.parquet"), rows=4),
    "jsonl": Place(Path("out"), rows=4),
}
FORMS = sorted(PLACES)
COUNT = 11


class Killed(BaseException):
    """Nothing of ours runs after this, as after kill -9: the tests open the output anew."""


class Steps:
    """Counts what is done to the disk, and kills at one of the steps, before or after it is done."""

    def __init__(self, deadly: int | None, *, after: bool) -> None:
        self.taken = 0
        self._deadly = deadly
        self._after = after

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def taken(*arguments: Any, **named: Any) -> Any:
            self.taken += 1
            if self.taken == self._deadly and not self._after:
                raise Killed
            done = step(*arguments, **named)
            if self.taken == self._deadly:
                raise Killed
            return done

        return taken


class Instant:
    """An engine that answers two recordings at once, every fifth with an error that passes."""

    def __init__(self, form: Form, *, failing: bool = False) -> None:
        self._form = form
        self._failing = failing
        self.asked: list[str] = []

    def answers(self, items: Iterable[Item]) -> Iterator[Answers]:
        waiting: list[Item] = []
        for item in items:
            self.asked.append(item.name)
            waiting.append(item)
            if len(waiting) == 2:
                yield self._packed(waiting)
                waiting = []
        if waiting:
            yield self._packed(waiting)

    def _packed(self, items: list[Item]) -> Answers:
        return packed([self._row(item) for item in items], self._form)

    def _row(self, item: Item) -> dict[str, Any]:
        fails = self._failing and int(Path(item.name).stem) % 5 == 0
        return row_of(item, error="run_failed", passing=True) if fails else row_of(item)


def go(place: Place, made: Form, engine: Any = None, asked: Any = None, count: int = COUNT) -> Any:
    with Output(place, made, asked or {"granularity": "utterance"}) as output:
        return run(Numbers(count), output, engine or Instant(made), lambda _: None)


def results(place: Place) -> dict[str, dict[str, Any]]:
    return Results(place.single or place.folder).by_path()


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """At each write, rename and removal in turn; what the journal or a part held is not asked for again."""
    place, made = PLACES[name], form(name)
    deadly = 0
    while True:
        deadly += 1
        folder = tmp_path / f"{name}-{deadly}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        steps = Steps(deadly, after=after)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", steps.around(Path.replace))
            patch.setattr(Path, "unlink", steps.around(Path.unlink))
            patch.setattr(os, "fsync", steps.around(os.fsync))
            for step in ("add", "clear"):
                patch.setattr(f"emotape.delivery.offline.journal.Journal.{step}", steps.around(_journal(step)))
            patch.setattr("emotape.delivery.offline.output.shutil.rmtree", steps.around(_removed))
            patch.setattr(Output, "flush", _only_when_alive(Output.flush))
            try:
                go(place, made)
            except Killed:
                pass
            else:
                break
        before = _kept(place, made)
        engine = Instant(made)
        go(place, made, engine)
        assert sorted(results(place)) == sorted(f"{number}.wav" for number in range(COUNT))
        assert len(engine.asked) == COUNT - before
    assert deadly > 15


def _journal(step: str) -> Any:
    from emotape.delivery.offline.journal import Journal

    return getattr(Journal, step)


def _removed(folder: Path, **_: Any) -> None:
    for path in folder.iterdir():
        Path.unlink(path)
    folder.rmdir()


def _only_when_alive(flush: Any) -> Any:
    """Keep the run's own tidying up from running after a kill."""
    import sys

    def flushed(output: Output) -> None:
        if not isinstance(sys.exception(), Killed):
            flush(output)

    return flushed


def _kept(place: Place, made: Form) -> int:
    with Output(place, made, {"granularity": "utterance"}) as output:
        return output.done


@pytest.mark.parametrize("name", FORMS)
def test_the_same_command_again_asks_for_nothing_and_a_grown_input_for_what_is_new(name: str) -> None:
    place, made = PLACES[name], form(name)
    go(place, made)
    engine = Instant(made)
    tally = go(place, made, engine)
    assert (engine.asked, tally.known, tally.now) == ([], COUNT, 0)
    go(place, made, engine, count=COUNT + 3)
    assert sorted(results(place)) == sorted(f"{number}.wav" for number in range(COUNT + 3))
    assert len(engine.asked) == 3


@pytest.mark.parametrize("name", FORMS)
def test_what_failed_for_a_passing_reason_is_tried_again_only_when_asked(name: str) -> None:
    place, made = PLACES[name], form(name)
    go(place, made, Instant(made, failing=True))
    assert sum(row["error_code"] is not None for row in results(place).values()) == 3
    go(place, made, engine := Instant(made))
    assert engine.asked == []
    with Output(place, made, {"granularity": "utterance"}) as output:
        output.forget_passing()
        assert (output.done, output.failed) == (8, 0)
        run(Numbers(COUNT), output, engine, lambda _: None)
        assert (output.done, output.failed) == (11, 0)
    assert sorted(engine.asked) == ["0.wav", "10.wav", "5.wav"]
    assert len(results(place)) == COUNT


def refusal(place: Place, made: Form, **asked: Any) -> str:
    with pytest.raises(BadRequest) as refused:
        go(place, made, asked=asked or None)
    assert all(refused.value.text(language).cure for language in ("en", "zh"))
    return refused.value.code


@pytest.mark.parametrize("name", FORMS)
def test_another_command_another_arithmetic_and_strangers_files_are_refused(name: str) -> None:
    place, made = PLACES[name], form(name)
    target = place.single or place.folder
    if place.single:
        pa.parquet.write_table(pa.table({"a": [1]}), target)
    else:
        target.mkdir()
        (target / "thesis.txt").touch()
    assert refusal(place, made) == "batch_foreign"
    (target if place.single else target / "thesis.txt").unlink()
    go(place, made)
    assert refusal(place, made, granularity="frame") == "batch_other_command"
    with Output(place, made, {"granularity": "utterance"}) as output, pytest.raises(BadRequest) as refused:
        output.settle({"model": "m", "model_digest": "d", "dtype": "int8", "version": "1"})
    assert (refused.value.code, refused.value.facts["what"]) == ("batch_other_arithmetic", "dtype")
    assert len(results(place)) == COUNT


@pytest.mark.parametrize("name", FORMS)
def test_what_another_version_began_with_other_columns_is_refused_and_left_as_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished or not: its journal holds rows that this version would misread."""
    place, made = PLACES[name], form(name)
    with monkeypatch.context() as patch:
        patch.setattr("emotape.delivery.offline.output._FORMAT", 1)
        with Output(place, made, {"granularity": "utterance"}) as output:
            for item in Numbers(5).items():
                output.add(packed([row_of(item)], made))
    before = {path: path.read_bytes() for path in place.folder.iterdir()}
    assert refusal(place, made) == "batch_other_format"
    assert {path: path.read_bytes() for path in place.folder.iterdir()} == before
    with monkeypatch.context() as patch:
        patch.setattr("emotape.delivery.offline.output._FORMAT", 1)
        go(place, made)
    assert len(results(place)) == COUNT, "the version that began it goes on"
    assert refusal(place, made) == "batch_other_format"


def test_two_at_once_are_refused_and_damage_is_told() -> None:
    place, made = PLACES["parquet"], form("parquet")
    with Output(place, made, {"granularity": "utterance"}):
        assert refusal(place, made) == "batch_busy"
    go(place, made)
    (place.folder / "part-000001.parquet").write_bytes(b"torn")
    assert refusal(place, made) == "batch_damaged"
    (place.folder / HEADER).write_text("torn")
    assert refusal(place, made) == "batch_damaged"


def test_a_torn_end_of_the_journal_counts_for_nothing() -> None:
    place, made = PLACES["parquet"], form("parquet")
    with Output(place, made, {"granularity": "utterance"}) as output:
        for item in Numbers(3).items():
            output.add(packed([row_of(item)], made))
    journal = place.folder / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-5])
    go(place, made, engine := Instant(made))
    assert "2.wav" in engine.asked
    assert "1.wav" not in engine.asked
    assert len(results(place)) == COUNT


@pytest.mark.parametrize("name", ["parquet", "jsonl"])
def test_arrays_and_carried_columns_come_back_as_they_were(name: str) -> None:
    random = np.random.default_rng(3)
    columns = (Column("n", "int64"), Column("emotion", "string"))
    made = form(name, granularity="frame", embedding=True, carried=columns)
    frames = [random.random((length, 2), np.float32) for length in (3, 0, 5)]
    vectors = [random.random((length, 4), np.float32) for length in (3, 0, 5)]
    rows = [
        {
            **row_of(Item(f"{n}.wav", b""), error=None),
            "frames": frame,
            "embedding": vector,
            "n": n,
            "input_emotion": "x",
        }
        for n, (frame, vector) in enumerate(zip(frames, vectors, strict=True))
    ]
    rows.insert(1, row_of(Item("bad.wav", b""), error="not_audio"))
    with Output(PLACES["jsonl"], made, {}) as output:
        output.add(packed(rows, made))
        output.finish()
    found = Results(PLACES["jsonl"].folder).rows()
    assert [row["path"] for row in found] == ["0.wav", "bad.wav", "1.wav", "2.wav"]
    assert found[1]["frames"] is None
    assert found[1]["score_happy"] is None
    for number, row in enumerate(found[:1] + found[2:]):
        assert row["frames"] == frames[number].tolist()
        assert row["embedding"] == vectors[number].tolist()
        assert (row["n"], row["input_emotion"], row["emotion"]) == (number, "x", "happy")
        assert row["score_happy"] == float(np.float32(0.7))


def test_an_input_without_a_recording_is_an_error() -> None:
    with pytest.raises(BadRequest) as refused:
        go(PLACES["parquet"], form("parquet"), count=0)
    assert refused.value.code == "batch_nothing"

"""A batch: every question gets its one outcome, in order, whatever goes wrong with the others."""

from __future__ import annotations

import io
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from emotape.audio.decode import DecodeLimits
from emotape.delivery.batch import IN_FLIGHT, Batch, BatchOptions
from emotape.delivery.cli.inputs import Clip
from emotape.errors import BadRequest, Overloaded
from tests.delivery.fakes import FakeRecognizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.delivery.batch import Outcome
    from emotape.engine.result import Prediction

OPTIONS = BatchOptions(DecodeLimits())


def run(recognizer: Any, clips: list[Clip], noon: datetime, options: BatchOptions = OPTIONS) -> list[Outcome[Clip]]:
    with Batch(recognizer, options, lambda: noon) as batch:
        return list(batch.outcomes(clips))


def test_outcomes_come_in_order_one_each(tone: Callable[..., Path], recognizer: FakeRecognizer, noon: datetime) -> None:
    clips = [Clip(str(number), tone(f"{number}.wav", 200 + number, 0.1 + number / 100)) for number in range(20)]
    outcomes = run(recognizer, clips, noon)
    assert [outcome.question.name for outcome in outcomes] == [str(number) for number in range(20)]
    lengths = [outcome.answers[0].prediction.seconds for outcome in outcomes]
    assert lengths == pytest.approx([0.1 + number / 100 for number in range(20)], abs=1e-4)
    assert all(outcome.answers[0].finished == noon for outcome in outcomes)


def test_one_bad_recording_harms_no_other(
    tone: Callable[..., Path], tmp_path: Path, recognizer: FakeRecognizer, noon: datetime
) -> None:
    (tmp_path / "text.wav").write_text("this is no sound")
    given = BadRequest("no_match", pattern="*")
    clips = [Clip("a", tone("a.wav")), Clip("b", tmp_path / "text.wav"), Clip("c", given), Clip("d", tone("d.wav"))]
    outcomes = run(recognizer, clips, noon)
    assert [len(outcome.answers) for outcome in outcomes] == [1, 0, 0, 1]
    assert outcomes[1].error is not None
    assert outcomes[2].error is given


class Broken:
    """A recognizer with a fault of its own on the first recording."""

    def __init__(self) -> None:
        self.inner = FakeRecognizer()
        self.calls = 0

    def submit(self, source: Waveform, **wanted: Any) -> Future[Prediction]:
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("surprise")
        return self.inner.submit(source, **wanted)


def test_a_fault_nobody_foresaw_becomes_a_typed_error_of_that_recording(
    tone: Callable[..., Path], noon: datetime
) -> None:
    outcomes = run(Broken(), [Clip(name, tone(f"{name}.wav")) for name in "abc"], noon)
    errors = [outcome.error for outcome in outcomes if outcome.error]
    assert len(errors) == 1
    assert errors[0].code == "unexpected"
    assert isinstance(errors[0].__cause__, ZeroDivisionError)
    assert sum(len(outcome.answers) for outcome in outcomes) == 2


def test_a_path_with_a_nul_leads_nowhere(tmp_path: Path, recognizer: FakeRecognizer, noon: datetime) -> None:
    """A damaged list may hold one; the system's own refusal is no OSError."""
    (outcome,) = run(recognizer, [Clip("a", tmp_path / "a\0b.wav")], noon)
    assert outcome.error is not None
    assert outcome.error.code == "no_such_file"


def test_channels_are_answered_apart_and_numbered_from_one(
    tone: Callable[..., Path], recognizer: FakeRecognizer, noon: datetime
) -> None:
    options = BatchOptions(DecodeLimits(), channels="split")
    (outcome,) = run(recognizer, [Clip("a", tone("a.wav", channels=2))], noon, options)
    assert [answer.channel for answer in outcome.answers] == [1, 2]
    first, second = (answer.waveform.digest() for answer in outcome.answers)
    assert first != second


def test_standard_input_is_answered(tone: Callable[..., Path], recognizer: FakeRecognizer, noon: datetime) -> None:
    stream = io.BytesIO(tone("a.wav").read_bytes())
    (outcome,) = run(recognizer, [Clip("-", stream)], noon)
    assert outcome.answers[0].prediction.seconds == pytest.approx(0.5)


def test_decoding_is_part_of_what_an_answer_tells(
    tone: Callable[..., Path], recognizer: FakeRecognizer, noon: datetime
) -> None:
    (outcome,) = run(recognizer, [Clip("a", tone("a.wav"))], noon)
    answer = outcome.answers[0]
    assert answer.prediction.stages["decode"] > 0
    assert answer.source.sample_rate == 16_000


@dataclass
class Held:
    """A recognizer that holds its answers back until told, and that has room for `room` recordings."""

    room: int
    futures: list[Future[Prediction]] = field(default_factory=list)
    full: threading.Event = field(default_factory=threading.Event)
    refused: int = 0

    def submit(self, source: Waveform, **wanted: Any) -> Future[Prediction]:
        if sum(not future.done() for future in self.futures) >= self.room:
            self.refused += 1
            self.answer_one(source, wanted)
            raise Overloaded(retry_after=0.0, queued=0, limit=0)
        self.futures.append(Future())
        if len(self.futures) >= self.room:
            self.full.set()
        return self.futures[-1]

    def answer_one(self, source: Waveform, wanted: dict[str, Any]) -> None:
        waiting = [future for future in self.futures if not future.done()]
        if waiting:
            waiting[0].set_result(FakeRecognizer().submit(source, **wanted).result())


def test_a_recording_that_never_fits_is_refused_and_not_tried_for_ever(
    tone: Callable[..., Path], noon: datetime
) -> None:
    (outcome,) = run(Held(room=0), [Clip("a", tone("a.wav"))], noon)
    assert outcome.error is not None
    assert outcome.error.code == "overloaded"


def test_leaving_withdraws_what_waits_and_reads_ahead_only_a_little(tone: Callable[..., Path], noon: datetime) -> None:
    path, drawn = tone("a.wav"), []

    def clips() -> Iterator[Clip]:
        for number in range(100):
            drawn.append(number)
            yield Clip(str(number), path)

    held = Held(room=IN_FLIGHT)
    with Batch(held, OPTIONS, lambda: noon) as batch:
        outcomes = batch.outcomes(clips())
        reader = threading.Thread(target=lambda: next(outcomes, None))
        reader.start()
        assert held.full.wait(30)
    reader.join(30)
    assert not reader.is_alive()
    assert all(future.cancelled() for future in held.futures)
    assert len(drawn) <= IN_FLIGHT + 1

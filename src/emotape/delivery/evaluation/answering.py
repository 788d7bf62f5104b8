"""Every row answered by one recognizer: as it is, and under each harder condition."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emotape.delivery.batch import Batch, BatchOptions, Decoding
from emotape.delivery.clock import local_now
from emotape.delivery.evaluation.record import Judgement, judgement_of
from emotape.errors import EmotapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from emotape.audio.decode import AudioSource, ChannelMode, Recording
    from emotape.delivery.evaluation.conditions import Condition
    from emotape.delivery.evaluation.manifest import Row
    from emotape.recognizer import Recognizer


def judge(
    recognizer: Recognizer, rows: Sequence[Row], advance: Callable[[], None], decode: Decoding | None = None
) -> tuple[Judgement, ...]:
    """Return a judgement on every row, in order; `decode` replaces the recognizer's own."""
    judged = []
    for judgement in _heard(recognizer, rows) if decode is None else _heard_after(recognizer, rows, decode):
        judged.append(judgement)
        advance()
    return tuple(judged)


def _heard(recognizer: Recognizer, rows: Sequence[Row]) -> Iterator[Judgement]:
    answers = recognizer.recognize_many(row.path for row in rows if row.error is None)
    for row in rows:
        answer = row.error or next(answers)[1]
        yield Judgement(row, None, answer) if isinstance(answer, EmotapeError) else Judgement(row, answer, None)


def _heard_after(recognizer: Recognizer, rows: Sequence[Row], decode: Decoding) -> Iterator[Judgement]:
    with Batch(recognizer, BatchOptions(recognizer.options.decode), local_now, decode) as batch:
        yield from map(judgement_of, batch.outcomes(rows))


def under(condition: Condition, decode: Decoding, seed: int) -> Decoding:
    """Return a way to decode after which every recording is under a condition."""

    def harder(source: AudioSource, channels: ChannelMode, /) -> Recording:
        recording = decode(source, channels)
        return replace(recording, waveforms=tuple(condition.on(each, seed) for each in recording.waveforms))

    return harder

"""Every row answered by one recognizer: as it is, and under each harder condition."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emotape.delivery.batch import Batch, BatchOptions, Decoding
from emotape.delivery.clock import local_now
from emotape.delivery.evaluation.record import Judgement, judgement_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emotape.audio.decode import AudioSource, ChannelMode, Recording
    from emotape.delivery.evaluation.conditions import Condition
    from emotape.delivery.evaluation.manifest import Row
    from emotape.recognizer import Recognizer


def judge(
    recognizer: Recognizer, rows: Sequence[Row], advance: Callable[[], None], decode: Decoding | None = None
) -> tuple[Judgement, ...]:
    """Return a judgement on every row, in order; `decode` replaces the recognizer's own."""
    judged = []
    asked = BatchOptions(recognizer.options.decode)
    with Batch(recognizer, asked, local_now, decode or recognizer.decode) as batch:
        for outcome in batch.outcomes(rows):
            judged.append(judgement_of(outcome))
            advance()
    return tuple(judged)


def under(condition: Condition, decode: Decoding, seed: int) -> Decoding:
    """Return a way to decode after which every recording is under a condition."""

    def harder(source: AudioSource, channels: ChannelMode, /) -> Recording:
        recording = decode(source, channels)
        return replace(recording, waveforms=tuple(condition.on(each, seed) for each in recording.waveforms))

    return harder

"""Many recordings through one recognizer: a few in flight at a time, answers in the order of the questions."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Generic, Protocol, Self, TypeVar

from emotape.engine.flight import LARGE
from emotape.errors import EmotapeError, Overloaded, unforeseen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from emotape.audio.decode import AudioSource, ChannelMode, DecodeLimits, Recording, Source
    from emotape.audio.waveform import Waveform
    from emotape.engine.result import Granularity, Prediction

IN_FLIGHT: Final = 8  # recordings; enough to fill a tape with short clips


class Recognizing(Protocol):
    """What a batch needs of a recognizer."""

    def submit(
        self, source: Waveform, *, granularity: Granularity, embedding: bool, quality: bool
    ) -> Future[Prediction]:
        """Queue a waveform; the future can be cancelled."""


class Decoding(Protocol):
    """Decodes as `emotape.audio.decode.decode` does within limits of its own: `Recognizer.decode`."""

    def __call__(self, source: AudioSource, channels: ChannelMode, /) -> Recording:
        """Return the recording that `source` holds."""


class Question(Protocol):
    """A recording: where its sound is, or the error that stands in its place, or None for nothing to do."""

    @property
    def source(self) -> Path | BinaryIO | EmotapeError | None:
        """A path, an open binary file, an error, or None."""


Q = TypeVar("Q", bound=Question)


@dataclass(frozen=True)
class BatchOptions:
    """What is asked of every recording."""

    limits: DecodeLimits
    granularity: Granularity = "utterance"
    channels: ChannelMode = "mix"
    embedding: bool = False
    quality: bool = False


@dataclass(frozen=True, eq=False)
class Answer:
    """One channel of a recording, answered. `channel` counts from 1; None where channels were mixed."""

    prediction: Prediction
    waveform: Waveform
    source: Source
    finished: datetime
    channel: int | None = None


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Q]):
    """The answers to one question, or its error."""

    question: Q
    answers: tuple[Answer, ...] = ()
    error: EmotapeError | None = None


class Batch:
    """Answers recordings on a few threads. Leaving the context withdraws whatever is still waiting.

    Without `decode`, these threads decode within the limits of the options.
    """

    def __init__(
        self,
        recognizer: Recognizing,
        options: BatchOptions,
        clock: Callable[[], datetime],
        decode: Decoding | None = None,
    ) -> None:
        self._recognizer = recognizer
        self._options = options
        self._clock = clock
        self._decode = decode or self._decode_here
        self._leaving = threading.Event()
        self._large = threading.Lock()
        self._queued: set[Future[Prediction]] = set()
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="emotape-batch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for future in tuple(self._queued):
            future.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def outcomes(self, questions: Iterable[Q]) -> Iterator[Outcome[Q]]:
        """Yield one outcome per question, in order, reading ahead by at most `IN_FLIGHT`."""
        waiting: deque[Future[Outcome[Q]]] = deque()
        for question in questions:
            waiting.append(self._pool.submit(self._outcome, question))
            if len(waiting) >= IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _outcome(self, question: Q) -> Outcome[Q]:
        source = question.source
        if source is None or isinstance(source, EmotapeError):
            return Outcome(question, error=source)
        try:
            with self._room(source):
                return Outcome(question, self._answers(source))
        except EmotapeError as error:
            return Outcome(question, error=error)
        except Exception as error:  # noqa: BLE001 - whatever one recording does, the others get their answers
            return Outcome(question, error=unforeseen(error))

    def _room(self, source: Path | BinaryIO) -> AbstractContextManager[object]:
        """Return the lock of large files for one that is large or of unknown size."""
        size = _size(source)
        return nullcontext() if size is not None and size < LARGE else self._large

    def _answers(self, source: Path | BinaryIO) -> tuple[Answer, ...]:
        began = time.perf_counter()
        recording = self._decode(source, self._options.channels)
        decoding = time.perf_counter() - began
        predictions = self._predictions(recording.waveforms)
        split = self._options.channels == "split"
        return tuple(
            Answer(
                _with_decoding(prediction, recording.warnings, decoding),
                waveform,
                recording.source,
                self._clock(),
                number if split else None,
            )
            for number, (prediction, waveform) in enumerate(zip(predictions, recording.waveforms, strict=True), 1)
        )

    def _decode_here(self, source: AudioSource, channels: ChannelMode) -> Recording:
        from emotape.audio.decode import decode

        return decode(source, self._options.limits, channels)

    def _predictions(self, waveforms: tuple[Waveform, ...]) -> list[Prediction]:
        """Answer waveforms, coming again as advised while the queue is full of this batch's own recordings."""
        chances = 2
        while True:
            chances -= not self._queued  # nothing left to wait for: it is the recording itself that does not fit
            try:
                futures = [self._submit(waveform) for waveform in waveforms]
                return [future.result() for future in futures]
            except Overloaded as refusal:
                if chances <= 0 or self._leaving.wait(refusal.retry_after):
                    raise

    def _submit(self, waveform: Waveform) -> Future[Prediction]:
        options = self._options
        future = self._recognizer.submit(
            waveform, granularity=options.granularity, embedding=options.embedding, quality=options.quality
        )
        self._queued.add(future)
        future.add_done_callback(self._queued.discard)
        if self._leaving.is_set():
            future.cancel()
        return future


def _with_decoding(prediction: Prediction, warnings: tuple[str, ...], seconds: float) -> Prediction:
    """Return the prediction with what decoding had to say."""
    merged = tuple(dict.fromkeys((*warnings, *prediction.warnings)))
    return replace(prediction, warnings=merged, stages={**prediction.stages, "decode": seconds})


def _size(source: Path | BinaryIO) -> int | None:
    if not isinstance(source, Path):
        return None
    try:
        return os.stat(source).st_size  # noqa: PTH116 - also for names that are no text
    except (OSError, ValueError):
        return 0  # decoding will say what is wrong with it

"""A recognizer at the page's seam: instant, and its scores follow from the sound alone."""

from __future__ import annotations

import threading
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from emotape.audio.decode import DecodeLimits, Recording, decode
from emotape.engine.progress import Pending, Progress
from emotape.engine.result import Granularity, Prediction, Provenance, Segment
from emotape.model.labels import OFFICIAL, OFFICIAL_KEYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform


@dataclass
class FakeRecognizer:
    """Answers any waveform at once, or raises `failure`; counts in `asked`.

    `held` requests report `progress` until `release`; without `ready` being set, submitting waits for it.
    """

    failure: Exception | None = None
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    held: bool = False
    uncertain_below: float | None = None
    warnings: tuple[str, ...] = ()
    stretches: int = 2  # segments of equal length, every other one without an emotion
    progress: Progress = field(default_factory=lambda: Progress("queued", ahead_seconds=35.0))
    asked: list[tuple[str, bool]] = field(default_factory=list)
    given: list[Pending[Prediction]] = field(default_factory=list)
    ready: threading.Event = field(default_factory=lambda: _set(threading.Event()))

    @property
    def is_ready(self) -> bool:
        return self.ready.is_set()

    def decode(self, source: str, /) -> Recording:
        return decode(source, self.limits)

    def submit(
        self, source: Waveform, *, granularity: Granularity, embedding: bool, quality: bool
    ) -> Pending[Prediction]:
        assert quality, "the page always wants to know whether the sound is usable"
        self.ready.wait()
        self.asked.append((granularity, embedding))
        if self.failure:
            raise self.failure
        pending: Pending[Prediction] = Pending()
        pending.follow(lambda: self.progress)
        answer = prediction(source, granularity=granularity, embedding=embedding, stretches=self.stretches)
        pending.answer = replace(  # type: ignore[attr-defined]
            answer, uncertain_below=self.uncertain_below, warnings=self.warnings
        )
        self.given.append(pending)
        if not self.held:
            _answer(pending)
        return pending

    def release(self) -> None:
        """Answer everything that is held, and whatever comes."""
        self.held = False
        for pending in self.given:
            _answer(pending)


def _answer(pending: Pending[Prediction]) -> None:
    with suppress(InvalidStateError):  # answered before, or withdrawn
        pending.set_result(pending.answer)  # type: ignore[attr-defined]


def _set(event: threading.Event) -> threading.Event:
    event.set()
    return event


@dataclass(frozen=True)
class FakeGpu:
    name: str = "NVIDIA H200"
    utilisation: float = 21.0
    memory_used: int = 20 * 2**30
    memory_total: int = 139 * 2**30


@dataclass(frozen=True)
class FakeAdvice:
    code: str
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeSnapshot:
    cpu_percent: float
    memory_used: int = 5 * 2**30
    memory_total: int = 8 * 2**30
    process_memory: int = 700 * 2**20
    swap_used: int = 0
    gpus: tuple[FakeGpu, ...] = (FakeGpu(),)
    queue_seconds: float = 12.5
    requests_per_second: float = 3.2
    realtime_factor: float = 41.0
    cache_hit_rate: float | None = None
    stages: dict[str, float] = field(default_factory=lambda: {"decode": 1.0, "run": 3.0})
    advice: tuple[FakeAdvice, ...] = ()


@dataclass
class FakeWatches:
    """A machine whose processor is busier at every look."""

    looks: int = 0
    advice: tuple[FakeAdvice, ...] = ()

    def snapshot(self) -> FakeSnapshot:
        self.looks += 1
        return FakeSnapshot(cpu_percent=float(self.looks), advice=self.advice)


def prediction(
    waveform: Waveform, *, granularity: Granularity = "utterance", embedding: bool = False, stretches: int = 2
) -> Prediction:
    """Return a prediction whose frames sum to 1 and whose scores are their mean."""
    frames = _frames(max(1, len(waveform) // 320))
    scores = dict(zip(OFFICIAL_KEYS, map(float, frames.mean(axis=0)), strict=True))
    best = max(scores, key=lambda key: scores[key])
    edges = np.linspace(0.0, waveform.seconds, stretches + 1).tolist()
    segments = tuple(
        Segment(start, stop, best, scores[best], scores) if place % 2 else Segment(start, stop, None, 0.0, {})
        for place, (start, stop) in enumerate(pairwise(edges))
    )
    return Prediction(
        emotion=best,
        confidence=scores[best],
        scores=scores,
        labels=OFFICIAL,
        granularity=granularity,
        seconds=waveform.seconds,
        speech_seconds=waveform.seconds / 2,
        windows=((0.0, waveform.seconds),),
        provenance=_provenance(waveform),
        frames=None if granularity == "utterance" else frames,
        segments=segments if granularity == "segment" else (),
        embedding=np.ones(8, np.float32) if embedding else None,
        stages={"run": 0.001, "finish": 12.5},
    )


def _provenance(waveform: Waveform) -> Provenance:
    return Provenance(
        version="0",
        model="fake",
        model_digest="0" * 64,
        experimental=True,
        dtype="float32",
        device="cpu",
        audio_sha256=waveform.digest(),
    )


def _frames(count: int) -> NDArray[np.float32]:
    logits = np.random.default_rng(count).normal(size=(count, len(OFFICIAL_KEYS)))
    odds = np.exp(logits)
    shares: NDArray[np.float32] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares

"""Predictions and a recognizer that needs no network: the same sound always gets the same answer."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from emotape.engine.result import Prediction, Provenance, Segment
from emotape.model.labels import OFFICIAL, OFFICIAL_KEYS, Label

if TYPE_CHECKING:
    from emotape.audio.waveform import Waveform
    from emotape.errors import EmotapeError


PROVENANCE = Provenance(
    version="0.0",
    model="fake",
    model_digest="f" * 64,
    experimental=False,
    dtype="float32",
    device="cpu",
    audio_sha256="a" * 64,
)


def make_prediction(**changes: Any) -> Prediction:
    """Return a happy prediction of one second, changed as asked."""
    scores = dict.fromkeys(OFFICIAL_KEYS, 0.02) | {"happy": 0.84}
    happy = Prediction(
        emotion="happy",
        confidence=0.84,
        scores=scores,
        labels=OFFICIAL,
        granularity="utterance",
        seconds=1.0,
        speech_seconds=1.0,
        windows=((0.0, 1.0),),
        provenance=PROVENANCE,
        stages={"run": 0.01},
    )
    return replace(happy, **changes)


def make_segments(*bounds: tuple[float, float, str | None]) -> tuple[Segment, ...]:
    """Return segments from (start, stop, emotion)."""
    return tuple(
        Segment(start, stop, emotion, 0.9 if emotion else 0.0, {emotion: 0.9} if emotion else {})
        for start, stop, emotion in bounds
    )


def answer_for(waveform: Waveform, granularity: str, *, embedding: bool) -> Prediction:
    """Return scores that are a pure function of the samples, in every granularity."""
    seed = int.from_bytes(hashlib.sha256(waveform.samples.tobytes()).digest()[:8], "big")
    random = np.random.default_rng(seed)
    frames = random.dirichlet(np.ones(9), size=max(1, (len(waveform) - 80) // 320)).astype(np.float32)
    mean = frames.mean(axis=0)
    best = OFFICIAL_KEYS[int(mean.argmax())]
    middle = waveform.seconds / 2
    vector = random.standard_normal((len(frames), 4)).astype(np.float32)
    return make_prediction(
        emotion=best,
        confidence=float(mean.max()),
        scores={key: float(score) for key, score in zip(OFFICIAL_KEYS, mean, strict=True)},
        granularity=granularity,
        seconds=waveform.seconds,
        windows=((0.0, waveform.seconds),),
        frames=None if granularity == "utterance" else frames,
        segments=make_segments((0.0, middle, best), (middle, waveform.seconds, None))
        if granularity == "segment"
        else (),
        embedding=None if not embedding else vector if granularity == "frame" else vector.mean(axis=0),
    )


@dataclass
class FakeRecognizer:
    """Answers at once, or with `errors` in turn before that; keeps what it was asked."""

    labels: tuple[Label, ...] = OFFICIAL
    errors: list[EmotapeError] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    qualities: list[bool] = field(default_factory=list)

    def submit(self, source: Waveform, *, granularity: str, embedding: bool, quality: bool) -> Future[Prediction]:
        """Answer one waveform."""
        self.qualities.append(quality)
        if self.errors:
            raise self.errors.pop()
        self.asked.append(source.seconds)
        future: Future[Prediction] = Future()
        future.set_result(answer_for(source, granularity, embedding=embedding))
        return future

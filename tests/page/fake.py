"""A recognizer at the page's seam: instant, and its scores follow from the sound alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from emotape.engine.result import Granularity, Prediction, Provenance, Segment
from emotape.model.labels import OFFICIAL, OFFICIAL_KEYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform


@dataclass
class FakeRecognizer:
    """Answers any waveform, or raises `failure`; counts in `asked`."""

    failure: Exception | None = None
    asked: list[tuple[str, bool]] = field(default_factory=list)

    def recognize(self, source: Waveform, *, granularity: Granularity, embedding: bool, quality: bool) -> Prediction:
        assert quality, "the page always wants to know whether the sound is usable"
        self.asked.append((granularity, embedding))
        if self.failure:
            raise self.failure
        return prediction(source, granularity=granularity, embedding=embedding)


def prediction(waveform: Waveform, *, granularity: Granularity = "utterance", embedding: bool = False) -> Prediction:
    """Return a prediction whose frames sum to 1 and whose scores are their mean."""
    frames = _frames(max(1, len(waveform) // 320))
    scores = dict(zip(OFFICIAL_KEYS, map(float, frames.mean(axis=0)), strict=True))
    best = max(scores, key=lambda key: scores[key])
    half = waveform.seconds / 2
    segments = (Segment(0.0, half, None, 0.0, {}), Segment(half, waveform.seconds, best, scores[best], scores))
    return Prediction(
        emotion=best,
        confidence=scores[best],
        scores=scores,
        labels=OFFICIAL,
        granularity=granularity,
        seconds=waveform.seconds,
        speech_seconds=half,
        windows=((0.0, waveform.seconds),),
        provenance=_provenance(waveform),
        frames=None if granularity == "utterance" else frames,
        segments=segments if granularity == "segment" else (),
        embedding=np.ones(8, np.float32) if embedding else None,
        stages={"run": 0.001},
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

"""What is cut from a stream, and what remains of its answers; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.audio.decode import SHORTEST
from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.model.labels import OFFICIAL_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from emotape.engine.result import Prediction

_DIGITS: Final = 6


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of a stream, and where it begins, in samples at 16 kHz."""

    begin: int
    waveform: Waveform

    @property
    def times(self) -> dict[str, float]:
        """Where it begins and ends, in seconds."""
        end = self.begin + len(self.waveform)
        return {"start": round(self.begin / SAMPLE_RATE, _DIGITS), "stop": round(end / SAMPLE_RATE, _DIGITS)}


class Windows:
    """Cuts windows of `length` samples, one every `hop` samples; at the end a shorter one with what was in none."""

    def __init__(self, length: int, hop: int) -> None:
        self._length = length
        self._hop = hop
        self._begin = 0
        self._stop = 0
        self._tail = np.empty(0, np.float32)

    @property
    def heard(self) -> int:
        """Samples that came in."""
        return self._begin + len(self._tail)

    def add(self, block: NDArray[np.float32]) -> Iterator[Window]:
        """Take mono samples at 16 kHz, and yield the windows that they complete."""
        self._tail = np.concatenate([self._tail, block])
        while len(self._tail) >= self._length:
            yield self._window(self._length)
            self._tail = self._tail[self._hop :]
            self._begin += self._hop

    def rest(self) -> Window | None:
        """Return the last window; None when all was heard, or what was not is too short to be."""
        fresh = self.heard > self._stop
        return self._window(len(self._tail)) if fresh and len(self._tail) >= SHORTEST else None

    def _window(self, length: int) -> Window:
        self._stop = self._begin + length
        return Window(self._begin, Waveform(self._tail[:length].copy()))


class Summary:
    """The windows' scores, weighted by their seconds of speech, and what became of every window.

    The scores are joined as those of a long recording's windows are, so that the model's threshold holds for them, too.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.skipped = 0
        self.failed = 0
        self._weights: list[float] = []
        self._scores: list[dict[str, float]] = []
        self._uncertain_below: float | None = None

    def add(self, prediction: Prediction) -> None:
        """Take the prediction of one window."""
        self.answered += 1
        self._weights.append(prediction.speech_seconds)
        self._scores.append(dict(prediction.scores))
        self._uncertain_below = prediction.uncertain_below

    def document(self) -> dict[str, Any]:
        """Return the whole as plain values; no emotion without scores, and no `uncertain` without a threshold."""
        scores = self._mean()
        emotion = max(scores, key=lambda key: scores[key]) if scores else None
        confidence = scores.get(emotion, 0.0) if emotion is not None else 0.0
        shown = dict.fromkeys(OFFICIAL_KEYS, 0.0) | scores
        return {
            "emotion": emotion,
            "confidence": round(confidence, _DIGITS),
            **({} if emotion is None else self._doubt(confidence)),
            "scores": {key: round(score, _DIGITS) for key, score in shown.items()},
            "windows": self.answered,
            "skipped": self.skipped,
            "failed": self.failed,
        }

    def _doubt(self, confidence: float) -> dict[str, Any]:
        below = self._uncertain_below
        return {} if below is None else {"uncertain": confidence < below, "uncertain_below": below}

    def _mean(self) -> dict[str, float]:
        if not self._scores or not self._scores[0]:
            return {}
        total = sum(self._weights)
        shares = [weight / total for weight in self._weights] if total > 0 else [1 / len(self._weights)] * self.answered
        return {
            key: sum(share * scores[key] for share, scores in zip(shares, self._scores, strict=True))
            for key in self._scores[0]
        }

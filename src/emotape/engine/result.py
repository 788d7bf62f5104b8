"""What a caller gets back: scores for the utterance, for frames, for segments; embeddings; where they came from.

A frame is 20 ms (50 Hz): frame `t` of a recording is centred on `t * 0.02 + 0.0125` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from emotape.model.labels import Label, official_first

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from emotape.audio.quality import Quality
    from emotape.engine.runner import ClipScores

Granularity = Literal["utterance", "frame", "segment"]
GRANULARITIES: Final = ("utterance", "frame", "segment")
FRAME_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording with one emotion, or with none where nobody speaks.

    `start` and `stop` are seconds; `emotion` is a label key, or None for silence; `scores` are what the network says of
    the stretch: the softmax of its frames' mean logits, as for an utterance (empty for silence).
    """

    start: float
    stop: float
    emotion: str | None
    confidence: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Provenance:
    """Which software, weights, arithmetic and sound a prediction came from."""

    version: str
    model: str
    model_digest: str
    experimental: bool
    dtype: str
    device: str
    audio_sha256: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """The one answer to one request.

    emotion        key of the best label; None when the model has no classifier (embedding-only models)
    confidence     its probability, 0 to 1
    scores         probability of every label by key: the nine official ones in their order (0 for those that the model
                   lacks), then any of the model's own; empty when the model has no classifier
    labels         the labels behind `scores`, in the same order
    frames         probabilities [T, len(labels)] at 50 Hz, for granularity "frame" and "segment"
    segments       for granularity "segment"
    embedding      float32 [D] for "utterance" and "segment", [T, D] for "frame"; only when asked for
    seconds        length of the audio; `speech_seconds` of it is speech (equal where nobody looked)
    windows        (start, stop) in seconds of every stretch that went through the network; one unless the audio is long
    warnings       codes of what the caller should know ("silent", "clipped", "windowed", "truncated" …)
    stages         seconds spent in each stage ("decode", "window", "queue", "run", …)
    uncertain_below  the model's own threshold: a confidence below it is uncertain; None where it has none
    """

    emotion: str | None
    confidence: float
    scores: Mapping[str, float]
    labels: tuple[Label, ...]
    granularity: Granularity
    seconds: float
    speech_seconds: float
    windows: tuple[tuple[float, float], ...]
    provenance: Provenance
    frames: NDArray[np.float32] | None = None
    segments: tuple[Segment, ...] = ()
    embedding: NDArray[np.float32] | None = None
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    uncertain_below: float | None = None

    @property
    def uncertain(self) -> bool | None:
        """Whether the confidence is below the model's threshold; None without a threshold or an emotion."""
        if self.uncertain_below is None or self.emotion is None:
            return None
        return self.confidence < self.uncertain_below


@dataclass(frozen=True, eq=False)
class Scores:
    """The network's scores of a whole recording, its windows joined.

    probabilities        [K] of the utterance, K labels in the order of `labels`; empty for an embedding-only model
    frame_logits         [T, K]
    embedding            [D]
    frame_embeddings     [T, D], if they were asked for
    """

    labels: tuple[Label, ...]
    probabilities: NDArray[np.float32]
    frame_logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    frame_embeddings: NDArray[np.float32] | None

    def by_key(self, probabilities: NDArray[np.float32]) -> dict[str, float]:
        """Return probabilities [K] by label key, in order."""
        return {label.key: float(value) for label, value in zip(self.labels, probabilities, strict=True)}


def join_windows(clips: Sequence[ClipScores], weights: Sequence[float], model_labels: Sequence[Label | None]) -> Scores:
    """Join the scores of a recording's windows, whose frames follow one another.

    The utterance's probabilities and embedding are the windows', weighted by `weights` (seconds of speech); of a single
    window they are its own, exactly. Classes without a label are masked before the softmax.
    """
    share = np.asarray(weights, np.float64)
    share = share / share.sum() if share.sum() > 0 else np.full(len(clips), 1 / len(clips))
    embedding = np.einsum("w,wd->d", share, np.stack([clip.embedding for clip in clips])).astype(np.float32)
    per_frame = [clip.frame_embeddings for clip in clips if clip.frame_embeddings is not None]
    frame_embeddings = np.concatenate(per_frame) if per_frame else None
    logits = [clip.logits for clip in clips if clip.logits is not None]
    if not logits:
        nothing = np.zeros(0, np.float32)
        return Scores((), nothing, np.zeros((0, 0), np.float32), embedding, frame_embeddings)
    labels = official_first(model_labels)
    probabilities = np.einsum("w,wk->k", share, softmax(_by_label(np.stack(logits), model_labels, labels)))
    frames = np.concatenate([clip.frame_logits for clip in clips if clip.frame_logits is not None])
    frame_logits = _by_label(frames, model_labels, labels)
    return Scores(labels, probabilities.astype(np.float32), frame_logits, embedding, frame_embeddings)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return probabilities over the last axis; a logit of minus infinity gets 0."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities: NDArray[np.float32] = (powers / powers.sum(-1, keepdims=True)).astype(np.float32)
    return probabilities


def _by_label(
    logits: NDArray[np.float32], model_labels: Sequence[Label | None], labels: Sequence[Label]
) -> NDArray[np.float32]:
    """Order logits [..., C] of the model's classes by `labels` [..., K]; minus infinity where the model has none."""
    classes = {label.key: index for index, label in enumerate(model_labels) if label}
    ordered = np.full((*logits.shape[:-1], len(labels)), -np.inf, np.float32)
    for place, label in enumerate(labels):
        if label.key in classes:
            ordered[..., place] = logits[..., classes[label.key]]
    return ordered

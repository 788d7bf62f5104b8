"""Scores and what was heard before them become the `Prediction` that a caller gets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotape.audio.quality import assess
from emotape.audio.speech import frame_is_speech, speech_probabilities, speech_seconds
from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.audio.window import Span, split_at_pauses
from emotape.engine.result import Prediction, Provenance, Scores, join_windows, softmax
from emotape.engine.segments import SegmentOptions, segments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from emotape.audio.quality import Quality
    from emotape.audio.window import WindowOptions
    from emotape.engine.result import Segment
    from emotape.engine.runner import ClipScores
    from emotape.engine.wanted import Wanted
    from emotape.model.dims import Dims
    from emotape.model.labels import Label


@dataclass(frozen=True)
class Classes:
    """What a model's scores mean: the label of each class (None: unused), and below which confidence it is unsure."""

    labels: tuple[Label | None, ...]
    uncertain_below: float | None = None


@dataclass(frozen=True, eq=False)
class Decoding:
    """The waveforms of a recording, what its decoder warned of, and how many seconds decoding took."""

    waveforms: tuple[Waveform, ...]
    warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Heard:
    """One channel of a recording on its way to the network.

    `spans` are the windows that go through it; `speech` is the probability of speech for every 32 ms, None where
    nobody needed it; `stages` are seconds spent so far.
    """

    waveform: Waveform
    spans: tuple[Span, ...]
    speech: NDArray[np.float32] | None
    quality: Quality
    warnings: tuple[str, ...]
    stages: Mapping[str, float]

    def weights(self) -> list[float]:
        """Return how much each window counts: its seconds of speech."""
        if self.speech is None:
            return [float(span.stop - span.start) for span in self.spans]
        return [speech_seconds(span, self.speech) for span in self.spans]

    def speech_seconds(self) -> float:
        """Return seconds of speech in all; the whole length where nobody looked."""
        if self.speech is None:
            return self.waveform.seconds
        return speech_seconds(Span(0, len(self.waveform)), self.speech)


def embedding_bytes(waveforms: Sequence[Waveform], dims: Dims) -> int:
    """Return what the embeddings of all frames take until they are an answer: those of windows, and those joined."""
    return 2 * 4 * dims.embed_dim * sum(dims.frames(len(waveform)) for waveform in waveforms)


def listen_to(
    waveform: Waveform, warnings: tuple[str, ...], wanted: Wanted, window: WindowOptions, stages: Mapping[str, float]
) -> Heard:
    """Listen for speech where somebody needs it, cut at pauses, and judge the sound of one channel.

    `warnings` and `stages` are those of decoding; what is found here joins them.
    """
    started = time.perf_counter()
    listen = waveform.seconds > window.longest or wanted.quality or wanted.granularity == "segment"
    speech = speech_probabilities(waveform) if listen else None
    spans = split_at_pauses(len(waveform), speech, window)
    quality = assess(waveform, speech)
    cut = ("windowed",) if len(spans) > 1 else ()
    found = {**stages, "window": time.perf_counter() - started}
    return Heard(waveform, spans, speech, quality, (*warnings, *cut, *quality.warnings), found)


def predict(
    heard: Heard,
    clips: Sequence[ClipScores],
    classes: Classes,
    wanted: Wanted,
    provenance: Provenance,
    segment_options: SegmentOptions,
) -> Prediction:
    """Make the prediction of one channel from the scores of its windows."""
    scores = join_windows(clips, heard.weights(), classes.labels)
    best = int(scores.probabilities.argmax()) if scores.labels else None
    per_frame = bool(scores.labels) and wanted.granularity != "utterance"
    return Prediction(
        emotion=None if best is None else scores.labels[best].key,
        confidence=0.0 if best is None else float(scores.probabilities[best]),
        scores=scores.by_key(scores.probabilities),
        labels=scores.labels,
        granularity=wanted.granularity,
        seconds=heard.waveform.seconds,
        speech_seconds=heard.speech_seconds(),
        windows=tuple((span.start / SAMPLE_RATE, span.stop / SAMPLE_RATE) for span in heard.spans),
        provenance=provenance,
        frames=softmax(scores.frame_logits) if per_frame else None,
        segments=_segments(heard, scores, segment_options) if wanted.granularity == "segment" else (),
        embedding=_embedding(scores, wanted),
        quality=heard.quality if wanted.quality else None,
        warnings=heard.warnings,
        stages=heard.stages,
        uncertain_below=classes.uncertain_below,
    )


def _segments(heard: Heard, scores: Scores, options: SegmentOptions) -> tuple[Segment, ...]:
    if not scores.labels or heard.speech is None:
        return ()
    speech = frame_is_speech(len(scores.frame_logits), heard.speech)
    return segments(scores, speech, heard.waveform.seconds, options)


def _embedding(scores: Scores, wanted: Wanted) -> NDArray[np.float32] | None:
    if not wanted.embedding:
        return None
    return scores.frame_embeddings if wanted.granularity == "frame" else scores.embedding

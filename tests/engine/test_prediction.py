"""From what was heard and scored to what a caller is told: windows, speech, and only what was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emotape.audio.quality import assess
from emotape.audio.waveform import SAMPLE_RATE, Waveform
from emotape.audio.window import Span
from emotape.engine.prediction import Classes, Heard, predict
from emotape.engine.result import Granularity, Prediction, Provenance
from emotape.engine.runner import ClipScores
from emotape.engine.segments import SegmentOptions
from emotape.engine.wanted import Wanted
from emotape.model.labels import OFFICIAL

SPANS = (Span(0, 48_080), Span(48_000, 64_000))
SILENCE = Waveform(np.zeros(64_000, np.float32))
SPEECH = np.repeat(np.array([1.0, 0.0], np.float32), [50, 75])  # 25,600 samples, all in the first window
HEARD = Heard(SILENCE, SPANS, SPEECH, assess(SILENCE), ("windowed",), {})


def scored(span: Span, label: int) -> ClipScores:
    """A window whose every frame is sure of one label."""
    logits = np.full((span.frames, 9), -9.0, np.float32)
    logits[:, label] = 9.0
    vectors = np.full((span.frames, 2), label, np.float32)
    return ClipScores(vectors[0], logits[0], logits, vectors)


def predicted(heard: Heard = HEARD, granularity: Granularity = "utterance", embedding: bool = False) -> Prediction:
    clips = [scored(span, label) for span, label in zip(SPANS, (3, 6), strict=True)]
    wanted = Wanted(granularity, embedding, quality=False)
    provenance = Provenance("0", "none", "0", experimental=False, dtype="float32", device="cpu", audio_sha256="0")
    return predict(heard, clips, Classes(OFFICIAL, 0.9), wanted, provenance, SegmentOptions())


def test_windows_are_told_in_seconds_and_count_by_their_speech() -> None:
    told = predicted()
    assert told.windows == ((0.0, 3.005), (3.0, 4.0))
    assert (told.seconds, told.speech_seconds) == (4.0, 1.6)
    assert told.emotion == "happy"
    assert told.confidence == pytest.approx(1.0)


def test_where_nobody_listened_windows_count_by_their_length_and_all_is_speech() -> None:
    told = predicted(replace(HEARD, speech=None))
    share = (SPANS[0].stop - SPANS[0].start) / sum(span.stop - span.start for span in SPANS)
    assert told.scores["happy"] == pytest.approx(share, rel=1e-5)
    assert told.scores["sad"] == pytest.approx(1 - share, rel=1e-5)
    assert told.speech_seconds == told.seconds == len(HEARD.waveform) / SAMPLE_RATE


def test_frames_segments_and_embeddings_are_told_only_to_who_asked() -> None:
    utterance, frame, segment = predicted(), predicted(granularity="frame"), predicted(granularity="segment")
    assert (utterance.frames, utterance.segments, utterance.embedding) == (None, (), None)
    assert (frame.segments, frame.embedding, frame.quality) == ((), None, None)
    assert frame.frames is not None
    assert segment.frames is not None
    assert frame.frames.argmax(-1).tolist() == [3] * 150 + [6] * 49
    assert [part.emotion for part in segment.segments] == ["happy", None]
    shapes: dict[Granularity, tuple[int, ...]] = {"utterance": (2,), "frame": (199, 2), "segment": (2,)}
    for granularity, shape in shapes.items():
        embedding = predicted(granularity=granularity, embedding=True).embedding
        assert embedding is not None
        assert embedding.shape == shape

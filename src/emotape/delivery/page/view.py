"""An answer as the plain values from which the browser draws it, in any language and without markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.delivery.page.colours import colour, emoji
from emotape.delivery.page.curve import thin_out, visible_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emotape.audio.waveform import Waveform
    from emotape.delivery.page.answer import Answer
    from emotape.engine.result import Prediction

PEAKS: Final = 400  # bars of the drawn waveform
_LOUD: Final = 0.25  # a quieter recording is not drawn higher than this share


def view(answer: Answer, sound: str, downloads: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that the page shows of an answer; `sound` and `downloads` are addresses."""
    prediction = answer.prediction
    return {
        "file": answer.name,
        "time": answer.finished.isoformat(timespec="seconds"),
        "emotion": prediction.emotion,
        "confidence": round(prediction.confidence, 6),
        "uncertain": prediction.uncertain,
        "scores": {key: round(float(score), 6) for key, score in prediction.scores.items()},
        "labels": [_label(label) for label in prediction.labels],
        "granularity": prediction.granularity,
        "seconds": round(prediction.seconds, 3),
        "speech_seconds": round(prediction.speech_seconds, 3),
        "windows": len(prediction.windows),
        "warnings": [code for code in prediction.warnings if code != "experimental"],
        "stages": {stage: round(seconds, 6) for stage, seconds in prediction.stages.items()},
        "source": _source(answer),
        "model": _model(prediction),
        "segments": [_segment(segment) for segment in prediction.segments],
        "curve": curve(prediction),
        "peaks": peaks(answer.waveform),
        "sound": sound,
        "downloads": dict(downloads),
    }


def curve(prediction: Prediction) -> dict[str, Any] | None:
    """Return the scores over time of the labels that matter, in thousandths; None where there are no frames."""
    labels = visible_labels(prediction)
    if prediction.granularity == "utterance" or prediction.frames is None or not labels:
        return None
    seconds, shares = thin_out(prediction.frames)
    thousandths = (shares * 1000).round().astype(int)
    values = {label.key: thousandths[:, column].tolist() for column, label in labels}
    return {"seconds": seconds.round(3).tolist(), "values": values}


def peaks(waveform: Waveform, count: int = PEAKS) -> list[int]:
    """Return the highest absolute sample of `count` stretches, in hundredths of the loudest (or of a quarter)."""
    samples = waveform.samples
    edges = np.unique(np.linspace(0, len(samples), count, endpoint=False).astype(int))
    if not len(samples):
        return []
    highest = np.maximum(np.maximum.reduceat(samples, edges), -np.minimum.reduceat(samples, edges))
    found: list[int] = (100 * highest / max(float(highest.max()), _LOUD)).round().astype(int).tolist()
    return found


def _label(label: Any) -> dict[str, str]:
    return {"key": label.key, "en": label.en, "zh": label.zh, "emoji": emoji(label), "colour": colour(label.key)}


def _source(answer: Answer) -> dict[str, Any]:
    return {name: getattr(answer.source, name) for name in ("container", "codec", "sample_rate", "channels")}


def _model(prediction: Prediction) -> dict[str, str]:
    origin = prediction.provenance
    return {
        "model": origin.model,
        "digest": origin.model_digest[:12],
        "dtype": origin.dtype,
        "device": origin.device,
        "version": origin.version,
    }


def _segment(segment: Any) -> dict[str, Any]:
    return {
        "start": round(segment.start, 3),
        "stop": round(segment.stop, 3),
        "emotion": segment.emotion,
        "confidence": round(segment.confidence, 4),
    }

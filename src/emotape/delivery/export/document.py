"""A prediction as plain values, ready for JSON: the five known keys, and everything else under `details`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.export.pieces import DIGITS, Numbers
from emotape.engine.result import FRAME_SECONDS
from emotape.model.labels import OFFICIAL_KEYS
from emotape.wording import Language, interface_text, warning_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from emotape.engine.result import Prediction, Segment
    from emotape.errors import EmotapeError

TIMESTAMP: Final = "%Y-%m-%d %H:%M:%S"


def result(prediction: Prediction, finished: datetime) -> dict[str, Any]:
    """Return what `result.json` holds: exactly the five keys that users of the known web page parse.

    `scores` has the nine official labels in their order, 0 where the model lacks one, then any of the model's own.
    `finished` is the local time of completion.
    """
    known = dict.fromkeys(OFFICIAL_KEYS, 0.0) | dict(prediction.scores)
    return {
        "emotion": prediction.emotion,
        "confidence": _rounded(prediction.confidence),
        "scores": {key: _rounded(score) for key, score in known.items()},
        "granularity": prediction.granularity,
        "timestamp": finished.strftime(TIMESTAMP),
    }


def details(
    prediction: Prediction,
    language: Language = "en",
    *,
    vectors: bool = True,
    array: Callable[[Numbers], Any] = Numbers.lists,
) -> dict[str, Any]:
    """Return everything about a prediction that the five keys leave out.

    With `vectors`, frame scores [T, labels] (for granularity "frame") and the embedding are part of it, as what `array`
    makes of them.
    """
    provenance = asdict(prediction.provenance)
    facts = {
        "experimental": provenance.pop("experimental"),
        "seconds": _rounded(prediction.seconds),
        "speech_seconds": _rounded(prediction.speech_seconds),
        "windows": [[_rounded(start), _rounded(stop)] for start, stop in prediction.windows],
        "warnings": [{"code": code, "text": warning_text(code, language)} for code in prediction.warnings],
        "labels": {label.key: _label_names(label) for label in prediction.labels},
        "provenance": provenance,
        "stages": {stage: _rounded(seconds) for stage, seconds in prediction.stages.items()},
    }
    if prediction.provenance.experimental:
        facts["advice"] = interface_text("experimental", language)
    if prediction.uncertain is not None:
        facts |= {"uncertain": prediction.uncertain, "uncertain_below": prediction.uncertain_below}
    if prediction.granularity == "segment":
        facts["segments"] = [_segment(segment) for segment in prediction.segments]
    if prediction.quality is not None:
        facts["quality"] = {name: _finite(value) for name, value in asdict(prediction.quality).items()}
    return facts | (_vectors(prediction, array) if vectors else {})


def document(
    file: str,
    prediction: Prediction,
    finished: datetime,
    more: dict[str, Any],
    language: Language = "en",
    *,
    array: Callable[[Numbers], Any] = Numbers.lists,
) -> dict[str, Any]:
    """Return the object that `--json` prints for one recording; `more` joins its details.

    `array` makes lists of its arrays, or leaves large ones `as_it_is` for `pieces` to write.
    """
    facts = details(prediction, language, vectors="folder" not in more, array=array)
    return {"file": file, **result(prediction, finished), "details": facts | more}


def failure(file: str, error: EmotapeError, language: Language = "en") -> dict[str, Any]:
    """Return the object that `--json` prints for a recording that could not be answered."""
    return {"file": file, "error": {"code": error.code, **asdict(error.text(language))}}


def _vectors(prediction: Prediction, array: Callable[[Numbers], Any]) -> dict[str, Any]:
    """Return the arrays: frames as rows of scores in the order of `labels`."""
    found: dict[str, Any] = {}
    if prediction.granularity == "frame" and prediction.frames is not None:
        rows = array(Numbers(prediction.frames))
        found["frames"] = {"seconds": FRAME_SECONDS, "labels": list(prediction.scores), "scores": rows}
    if prediction.embedding is not None:
        found["embedding"] = array(Numbers(prediction.embedding))
    return found


def _label_names(label: Any) -> dict[str, str]:
    return {"en": label.en, "zh": label.zh, "emoji": label.emoji}


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": _rounded(segment.start),
        "stop": _rounded(segment.stop),
        "emotion": segment.emotion,
        "confidence": _rounded(segment.confidence),
        "scores": {key: _rounded(score) for key, score in segment.scores.items()},
    }


def _finite(value: Any) -> Any:
    """Return None for a number that JSON cannot hold, such as the level of digital silence."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)

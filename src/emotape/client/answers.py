"""A server's JSON becomes the library's own values. Numbers come rounded to six digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.audio.quality import Quality
from emotape.engine.result import Prediction, Provenance, Segment
from emotape.model.labels import Label, find_label

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEVELS: Final = ("rms_dbfs", "peak_dbfs", "clipped_share", "silent_share", "speech_share")


def prediction_of(document: Mapping[str, Any]) -> Prediction:
    """Return the prediction that a document of ours describes.

    `frames` are there for granularity "frame". Raises KeyError, TypeError or ValueError for what is no such document.
    """
    facts = document["details"]
    labels = tuple(_label(key, names) for key, names in facts["labels"].items())
    return Prediction(
        emotion=document["emotion"],
        confidence=float(document["confidence"]),
        scores={label.key: float(document["scores"][label.key]) for label in labels},
        labels=labels,
        granularity=document["granularity"],
        seconds=float(facts["seconds"]),
        speech_seconds=float(facts["speech_seconds"]),
        windows=tuple((float(start), float(stop)) for start, stop in facts["windows"]),
        provenance=Provenance(**facts["provenance"], experimental=facts["experimental"]),
        frames=_table(facts["frames"]["scores"]) if "frames" in facts else None,
        segments=tuple(Segment(**segment) for segment in facts.get("segments", ())),
        embedding=_table(facts["embedding"]) if "embedding" in facts else None,
        quality=_quality(facts["quality"]) if "quality" in facts else None,
        warnings=tuple(warning["code"] for warning in facts["warnings"]),
        stages=dict(facts["stages"]),
        uncertain_below=facts.get("uncertain_below"),
    )


def label_of(facts: Mapping[str, str]) -> Label:
    """Return a label of /v1/labels."""
    reference = facts["reference"].removesuffix(f"/{facts['key']}")
    return Label(facts["key"], facts["en"], facts["zh"], reference, facts["emoji"])


def _label(key: str, names: Mapping[str, str]) -> Label:
    known = find_label(key)
    if known is not None and known.key == key:
        return known
    return Label(key, names["en"], names["zh"], names["zh"], names["emoji"])


def _table(values: list[Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(values, np.float32)


def _quality(facts: Mapping[str, Any]) -> Quality:
    numbers = {name: math.nan if facts[name] is None else float(facts[name]) for name in _LEVELS}
    return Quality(**numbers, warnings=tuple(facts["warnings"]))

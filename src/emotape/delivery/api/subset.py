"""Scores of a few labels only, as if the model knew no others."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from emotape.errors import BadRequest
from emotape.model.labels import find_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.engine.result import Prediction, Segment
    from emotape.model.labels import Label


def chosen(named: str | None, labels: Sequence[Label]) -> tuple[str, ...]:
    """Return the keys of the labels that a comma-separated list names in any language; none means all.

    Raises BadRequest ("label_not_in_model").
    """
    known = {label.key for label in labels}
    keys = []
    for name in filter(None, (part.strip() for part in re.split("[,，]", named or ""))):
        found = find_label(name)
        key = name if found is None else found.key
        if key not in known:
            raise BadRequest("label_not_in_model", label=name, known=", ".join(label.key for label in labels))
        keys.append(key)
    return tuple(dict.fromkeys(keys))


def restricted(prediction: Prediction, keys: Sequence[str]) -> Prediction:
    """Return a prediction whose scores are of these labels alone, divided by their sum.

    Of a single window that is the softmax over these labels' logits. Labels keep the order they had.
    """
    if not keys:
        return prediction
    places = [place for place, label in enumerate(prediction.labels) if label.key in keys]
    labels = tuple(prediction.labels[place] for place in places)
    scores = _shares(prediction.scores, keys)
    frames = prediction.frames
    if frames is not None:
        part = frames[:, places]
        frames = part / np.maximum(part.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    emotion = max(scores, key=lambda key: scores[key])
    return replace(
        prediction,
        emotion=emotion,
        confidence=scores[emotion],
        scores=scores,
        labels=labels,
        frames=frames,
        segments=tuple(_segment(segment, keys) for segment in prediction.segments),
        uncertain_below=None,  # it was chosen for confidences among all labels
    )


def _segment(segment: Segment, keys: Sequence[str]) -> Segment:
    if segment.emotion is None:
        return segment
    scores = _shares(segment.scores, keys)
    emotion = max(scores, key=lambda key: scores[key])
    return replace(segment, emotion=emotion, confidence=scores[emotion], scores=scores)


def _shares(scores: Mapping[str, float], keys: Sequence[str]) -> dict[str, float]:
    part = {key: score for key, score in scores.items() if key in keys}
    total = sum(part.values())
    return {key: score / total if total > 0 else 1 / len(part) for key, score in part.items()}

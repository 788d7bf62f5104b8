"""Frame scores as the few points that a curve on a screen can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.engine.result import FRAME_SECONDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emotape.engine.result import Prediction
    from emotape.model.labels import Label

POINTS: Final = 200  # per label: one for three pixels of a pane, as lines that turn at every pixel are a tangle
VISIBLE: Final = 0.05  # a label that never reaches this probability is left out


def thin_out(frames: NDArray[np.float32], points: int = POINTS) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Average neighbouring frames [T, L] so that at most `points` remain.

    Returns their centres in seconds [P] and probabilities [P, L]; every frame counts in exactly one point.
    """
    edges = np.unique(np.linspace(0, len(frames), min(points, len(frames)) + 1).round().astype(int))
    starts, sizes = edges[:-1], np.diff(edges)
    if not len(starts):
        return np.empty(0), frames
    means = np.add.reduceat(frames, starts, axis=0) / sizes[:, None]
    return (starts + sizes / 2) * FRAME_SECONDS, means.astype(np.float32)


def visible_labels(prediction: Prediction) -> list[tuple[int, Label]]:
    """Return column and label of those that matter somewhere in the recording."""
    if prediction.frames is None or not len(prediction.frames):
        return []
    highest = prediction.frames.max(axis=0)
    return [(column, label) for column, label in enumerate(prediction.labels) if highest[column] >= VISIBLE]

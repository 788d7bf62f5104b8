"""Frame scores become segments: who feels what from when to when, and where nobody speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.engine.result import FRAME_SECONDS, Scores, Segment, softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SILENCE: Final = -1


@dataclass(frozen=True)
class SegmentOptions:
    """How eagerly segments change: frames are averaged over `smoothing` seconds, none is shorter than `shortest`."""

    smoothing: float = 1.0
    shortest: float = 0.5


@dataclass(frozen=True)
class _Run:
    label: int
    start: int
    stop: int


def segments(
    scores: Scores, speech: NDArray[np.bool_], seconds: float, options: SegmentOptions | None = None
) -> tuple[Segment, ...]:
    """Divide a recording of `seconds` into segments that follow one another without a gap.

    `speech` [T] says of each frame whether somebody speaks. The emotion of a stretch is decided on logits, whose mean
    over frames is what the network would say of the stretch as an utterance with this context.
    """
    options = options or SegmentOptions()
    width = max(1, round(options.smoothing / FRAME_SECONDS))
    best = _smoothed(scores.frame_logits, width).argmax(-1)
    runs = _runs(np.where(speech, best, _SILENCE))
    merged = _merged(runs, shortest=max(1, round(options.shortest / FRAME_SECONDS)))
    # The mean of a stretch may favour another label than most of its frames; then neighbours may agree.
    joined = _merged([_named_by_mean(run, scores) for run in merged], shortest=0)
    stops = [*(run.stop * FRAME_SECONDS for run in joined[:-1]), seconds]
    return tuple(_segment(scores, run, stop) for run, stop in zip(joined, stops, strict=True))


def _mean_logits(run: _Run, scores: Scores) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = scores.frame_logits[run.start : run.stop].mean(0, dtype=np.float64)
    return mean


def _named_by_mean(run: _Run, scores: Scores) -> _Run:
    if run.label == _SILENCE:
        return run
    return replace(run, label=int(_mean_logits(run, scores).argmax()))


def _smoothed(logits: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Average logits [T, K] over `width` frames around each, fewer at the ends."""
    total = np.concatenate([np.zeros((1, logits.shape[1])), np.cumsum(logits, 0, dtype=np.float64)])
    frames = np.arange(len(logits))
    start = np.maximum(0, frames - width // 2)
    stop = np.minimum(len(logits), frames + (width + 1) // 2)
    with np.errstate(invalid="ignore"):  # classes without a label are minus infinity throughout
        mean = (total[stop] - total[start]) / (stop - start)[:, None]
    return np.where(np.isneginf(logits), -np.inf, mean)


def _runs(labels: NDArray[np.intp]) -> list[_Run]:
    """Group equal neighbours; lone frames are looked at once, so this is linear."""
    edges = np.flatnonzero(np.diff(labels)) + 1
    starts, stops = [0, *edges.tolist()], [*edges.tolist(), len(labels)]
    return [_Run(int(labels[start]), start, stop) for start, stop in zip(starts, stops, strict=True)]


def _merged(runs: list[_Run], shortest: int) -> list[_Run]:
    """Let a short run of speech join the speech before it or, at the start of a stretch, the speech after it."""
    merged: list[_Run] = []
    for silent, stretch in groupby(runs, key=lambda run: run.label == _SILENCE):
        neighbours = list(stretch)
        merged += neighbours if silent else _merged_speech(neighbours, shortest)
    return merged


def _merged_speech(runs: list[_Run], shortest: int) -> list[_Run]:
    kept: list[_Run] = []
    for run in runs:
        previous = kept[-1] if kept else None
        if previous and (run.label == previous.label or run.stop - run.start < shortest):
            kept[-1] = _Run(previous.label, previous.start, run.stop)
        elif previous and previous.stop - previous.start < shortest:
            kept[-1] = _Run(run.label, previous.start, run.stop)
        else:
            kept.append(run)
    return kept


def _segment(scores: Scores, run: _Run, stop: float) -> Segment:
    start = run.start * FRAME_SECONDS
    if run.label == _SILENCE:
        return Segment(start, stop, None, 0.0, {})
    probabilities = softmax(_mean_logits(run, scores))
    confidence = float(probabilities[run.label])
    return Segment(start, stop, scores.labels[run.label].key, confidence, scores.by_key(probabilities))

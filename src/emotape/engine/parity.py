"""Does a faster arithmetic still say what fp32 says? Judged on recorded speech before it is used.

A verdict holds for weights, arithmetic, processor and software; it is remembered for them, so that only the first start
pays for it.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.audio.decode import decode
from emotape.audio.waveform import SAMPLE_RATE
from emotape.engine.result import softmax
from emotape.engine.runner import Clip

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.engine.runner import ClipScores, Runner

BOUND: Final = 0.03  # of a probability; of an embedding's length where there are no probabilities
_SECONDS: Final = 1.5  # of each clip: enough speech to judge by, and a start-up hardly notices


@dataclass(frozen=True)
class Verdict:
    """How far a runner strays from the exact one: the worst difference, and whether every clear label is the same."""

    worst: float
    same_labels: bool

    @property
    def is_finite(self) -> bool:
        """Whether all results were numbers."""
        return math.isfinite(self.worst)

    @property
    def agrees(self) -> bool:
        """Whether the runner may be used."""
        return self.same_labels and self.worst <= BOUND


def compare(reduced: Runner, exact: Runner) -> Verdict:
    """Compare two runners of one model on the recordings that come with the package."""
    clips = _recordings()
    pairs = list(zip(reduced.run(clips), exact.run(clips), strict=True))
    return Verdict(
        worst=max(_difference(found, wanted) for found, wanted in pairs),
        same_labels=all(_same_label(found, wanted) for found, wanted in pairs),
    )


def recall(notes: Path, key: str) -> Verdict | None:
    """Return the verdict that was remembered for `key`, or None."""
    try:
        return Verdict(**json.loads(notes.read_text(encoding="utf-8"))[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # never judged, or the notes are damaged: it is judged anew


def remember(notes: Path, key: str, verdict: Verdict) -> None:
    """Remember a verdict. Where nothing can be written, the next start judges again."""
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    partial = notes.with_name(f"{notes.name}.{os.getpid()}")
    try:
        notes.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({**known, key: asdict(verdict)}, indent=1) + "\n", encoding="utf-8")
        partial.replace(notes)
    except (OSError, TypeError):
        return


def _recordings() -> list[Clip]:
    folder = resources.files("emotape") / "samples"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".opus")), key=lambda file: file.name)
    waveforms = [decode(file.read_bytes()).waveforms[0] for file in files]
    return [Clip(waveform.part(0, int(_SECONDS * SAMPLE_RATE))) for waveform in waveforms]


def _difference(found: ClipScores, wanted: ClipScores) -> float:
    if found.logits is None or wanted.logits is None:
        apart = np.linalg.norm(found.embedding - wanted.embedding) / np.linalg.norm(wanted.embedding)
        return _or_infinite(float(apart))
    return _or_infinite(float(np.abs(softmax(found.logits) - softmax(wanted.logits)).max()))


def _or_infinite(difference: float) -> float:
    # A result that is no number is infinitely far from any.
    return difference if np.isfinite(difference) else float("inf")


def _same_label(found: ClipScores, wanted: ClipScores) -> bool:
    """Whether the best label is the same, unless fp32 itself hardly prefers it to the next."""
    if found.logits is None or wanted.logits is None:
        return True
    second, best = np.sort(softmax(wanted.logits))[-2:]
    return bool(best - second < 2 * BOUND or found.logits.argmax() == wanted.logits.argmax())

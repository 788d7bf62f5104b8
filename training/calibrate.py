"""One temperature for all confidences, kept only if the corpora it was not fitted on confirm it; then a threshold."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch

from emotape.delivery.evaluation.calibration import Threshold, threshold_for
from emotape.model.mapped import SAFETENSORS
from emotape.model.note import UNCERTAIN, note
from emotape.model.weights import verify
from training.assess import Floats, Integers, calibration_error, judge
from training.export import TRAINED

if TYPE_CHECKING:
    from pathlib import Path

    from training.corpora import Corpora
    from training.student import Student

COVERAGE = 0.8
TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(3.0), 60))


def calibrate(student: Student, corpora: Corpora) -> float:
    """Divide the head by a temperature, if it is confirmed; returns the temperature (1: unchanged).

    It is fitted on the dev speakers of the corpus that has the most dev clips, and confirmed when it lowers the
    calibration error on the dev speakers of every other corpus, which had no part in it.
    """
    indices, logits = judge(student, corpora, "dev", "clean")
    names = np.array([corpora.clips[index].corpus for index in indices])
    emotions = np.array([corpora.clips[index].emotion for index in indices])
    largest = max(np.unique(names), key=lambda name: (names == name).sum())
    temperature = _fit(emotions[names == largest], logits[names == largest])
    for name in set(names) - {largest}:
        others, given = emotions[names == name], logits[names == name]
        if calibration_error(others, given / temperature) >= calibration_error(others, given):
            return 1.0
    with torch.no_grad():
        student.proj.weight[TRAINED] /= temperature
        student.proj.bias[TRAINED] /= temperature
    return temperature


def choose_threshold(student: Student, corpora: Corpora) -> Threshold:
    """Return the confidence below which the student is unsure: four fifths of the dev clips are above it."""
    indices, logits = judge(student, corpora, "dev", "clean")
    emotions = np.array([corpora.clips[index].emotion for index in indices])
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    shares = powers / powers.sum(1, keepdims=True)
    return threshold_for(COVERAGE, shares.max(1), shares.argmax(1) == emotions)


def note_threshold(folder: Path, threshold: Threshold) -> None:
    """Note a threshold with a model directory, whose digest it is part of."""
    note(folder, **{UNCERTAIN: asdict(threshold)})
    note(folder, digest=verify(folder).digest, bytes=(folder / SAFETENSORS).stat().st_size)


def _fit(emotions: Integers, logits: Floats) -> float:
    """Return the temperature of least negative log-likelihood."""
    return float(min(TEMPERATURES, key=lambda temperature: _surprise(emotions, logits / temperature)))


def _surprise(emotions: Integers, logits: Floats) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-logs[np.arange(len(emotions)), emotions].mean())

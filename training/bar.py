"""The bar to reach: logistic regression on the frozen teacher's features, trained on the same clips as the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.assess import Floats, Summary, judge, summarise
from training.augment import CONDITIONS
from training.export import read_model
from training.probe import PENALTIES, Probe, balanced_weights, fit
from training.teacher import WIDTH, Lessons, WhisperEncoder, pooled_features

if TYPE_CHECKING:
    from pathlib import Path

    from training.corpora import Corpora

FEATURES = {"last layer": slice(0, 2 * WIDTH), "last and middle layer": slice(0, 4 * WIDTH)}


def measure_model(corpora: Corpora, folder: Path) -> dict[str, Any]:
    """Return the figures of a model to compare with, on the test speakers."""
    student = read_model(folder)
    test = {name: summarise(corpora, *judge(student, corpora, "test", name)) for name in CONDITIONS}
    return {"name": folder.name, "test": test}


def set_bar(corpora: Corpora, lessons: Lessons, encoder: WhisperEncoder, shares: dict[str, float]) -> dict[str, Any]:
    """Return features → split → condition → corpus → figures. Dev chooses the penalty, test only reports."""
    heard = {
        (split, condition): pooled_features(corpora, encoder, corpora.select(split, labelled=True), condition)
        for split in ("dev", "test")
        for condition in CONDITIONS
    }
    return {
        name: _figures(corpora, lessons, {key: value[:, part] for key, value in heard.items()}, part, shares)
        for name, part in FEATURES.items()
    }


def _figures(
    corpora: Corpora,
    lessons: Lessons,
    heard: dict[tuple[str, str], Floats],
    part: slice,
    shares: dict[str, float],
) -> dict[str, Any]:
    training = corpora.select("train", labelled=True)
    clips = [corpora.clips[index] for index in training]
    features = torch.from_numpy(lessons.pooled[training][:, part])
    emotions = torch.tensor([clip.emotion for clip in clips])
    weights = balanced_weights(clips, shares)

    def figures(probe: Probe, split: str, condition: str) -> dict[str, Summary]:
        logits = probe.logits(torch.from_numpy(heard[split, condition])).numpy()
        return summarise(corpora, np.array(corpora.select(split, labelled=True)), logits)

    probes = {penalty: fit(features, emotions, weights, penalty) for penalty in PENALTIES}
    penalty = max(probes, key=lambda penalty: _mean_recall(figures(probes[penalty], "dev", "clean")))
    found: dict[str, Any] = {"penalty": penalty}
    for split, condition in heard:
        found.setdefault(split, {})[condition] = figures(probes[penalty], split, condition)
    return found


def _mean_recall(figures: dict[str, Summary]) -> float:
    return sum(corpus["uar"] for corpus in figures.values()) / len(figures)

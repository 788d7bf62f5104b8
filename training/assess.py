"""How good a model is: recall and calibration on held-out speakers, clean, over the telephone and in noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from training.augment import degrade, pad
from training.corpora import Corpora, by_length
from training.export import TRAINED
from training.probe import recall
from training.student import Student, frames_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Summary = dict[str, float]


def judge(
    student: Student, corpora: Corpora, split: str, condition: str, *, rough: bool = False
) -> tuple[Integers, Floats]:
    """Return the labelled clips of a split [N] and the student's logits over our emotions [N, emotions].

    In fp32, or when ``rough`` in bfloat16, which is enough to watch a training and takes half the time.
    """
    indices = corpora.select(split, labelled=True)
    means = embed(student, corpora, indices, condition, rough=rough)
    with torch.no_grad():
        logits = student.proj(torch.from_numpy(means).to(student.proj.weight.device))
    return np.array(indices), logits[:, TRAINED].cpu().numpy()


@torch.no_grad()
def embed(student: Student, corpora: Corpora, indices: Sequence[int], condition: str, *, rough: bool = False) -> Floats:
    """Return the mean of each clip's frames [len(indices), D]; ``rough`` as in ``judge``."""
    device = student.proj.weight.device
    means = np.zeros((len(corpora.clips), student.dimensions.width), np.float32)
    for batch in by_length(corpora.clips, indices, seconds=40):
        waves, samples = pad([corpora.wave(index) for index in batch])
        inputs = degrade(waves, samples, condition).to(device, torch.bfloat16 if rough else torch.float32)
        with torch.autocast(device.type, torch.bfloat16, enabled=rough):
            heard = student(inputs, frames_of(samples).to(device))
        means[batch] = heard.mean.cpu().numpy()
    return means[indices]


def score(figures: dict[str, dict[str, Summary]]) -> float:
    """Return what chooses between models: mean recall over corpora, clean weighing as much as both hard conditions."""
    recalls = {
        condition: sum(corpus["uar"] for corpus in corpora.values()) / len(corpora)
        for condition, corpora in figures.items()
    }
    return 0.5 * recalls["clean"] + 0.25 * recalls["telephone"] + 0.25 * recalls["noise"]


def summarise(corpora: Corpora, indices: Integers, logits: Floats) -> dict[str, Summary]:
    """Return by corpus: clips, unweighted average recall, accuracy and calibration error."""
    names = np.array([corpora.clips[index].corpus for index in indices])
    emotions = np.array([corpora.clips[index].emotion for index in indices])
    return {str(name): _summary(emotions[names == name], logits[names == name]) for name in np.unique(names)}


def _summary(emotions: Integers, logits: Floats) -> Summary:
    return {
        "clips": len(emotions),
        "uar": round(recall(emotions, logits), 4),
        "accuracy": round(float((logits.argmax(1) == emotions).mean()), 4),
        "ece": round(calibration_error(emotions, logits), 4),
    }


def interval(emotions: Integers, logits: Floats, draws: int = 1000) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of the recall, clips drawn within their class (seeded)."""
    random = np.random.default_rng(0)
    members = [np.flatnonzero(emotions == emotion) for emotion in np.unique(emotions)]
    recalls = []
    for _ in range(draws):
        drawn = np.concatenate([random.choice(places, len(places)) for places in members])
        recalls.append(recall(emotions[drawn], logits[drawn]))
    low, high = np.percentile(recalls, (2.5, 97.5))
    return round(float(low), 3), round(float(high), 3)


def calibration_error(emotions: Integers, logits: Floats, bins: int = 10) -> float:
    """Return the expected calibration error: |accuracy - confidence| in bins of equal width, weighted by clips."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    confidence = (shifted / shifted.sum(1, keepdims=True)).max(1)
    right = logits.argmax(1) == emotions
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (places == place).mean() * abs(right[places == place].mean() - confidence[places == place].mean())
        for place in np.unique(places)
    ]
    return float(sum(gaps))

"""The head, fitted anew on everything at once: what small noisy batches left undone, a convex problem finishes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.assess import Summary, embed, score, summarise
from training.augment import CONDITIONS
from training.export import TRAINED, read_model, write_model
from training.probe import Probe, balanced_weights, fit

if TYPE_CHECKING:
    from pathlib import Path

    from training.corpora import Corpora
    from training.student import Student

PENALTIES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


def refit(run: Path, corpora: Corpora, shares: dict[str, float]) -> None:
    """Write ``run/refit``: the best checkpoint with a head fitted on its own features of the training clips.

    A third of the training clips are heard in each condition; dev speakers choose the penalty. ``finish`` takes it
    only if it is better on dev than the checkpoint as it was.
    """
    student = read_model(run / "best")
    record = json.loads((run / "best" / "dev.json").read_text())
    parts = {name: corpora.select("train", labelled=True)[place::3] for place, name in enumerate(CONDITIONS)}
    features = torch.cat([_embedded(student, corpora, part, name) for name, part in parts.items()])
    clips = [corpora.clips[index] for part in parts.values() for index in part]
    emotions = torch.tensor([clip.emotion for clip in clips])
    held_out = corpora.select("dev", labelled=True)
    dev = {name: _embedded(student, corpora, held_out, name) for name in CONDITIONS}
    weights = balanced_weights(clips, shares)
    probes = {penalty: fit(features, emotions, weights, penalty) for penalty in PENALTIES}
    figures = {penalty: _figures(corpora, probe, dev) for penalty, probe in probes.items()}
    penalty = max(probes, key=lambda penalty: score(figures[penalty]))
    with torch.no_grad():
        weight = probes[penalty].weight / probes[penalty].scale[:, None]  # standardisation, folded in
        student.proj.weight[TRAINED] = weight.T
        student.proj.bias[TRAINED] = probes[penalty].bias - probes[penalty].centre @ weight
    write_model(student, run / "refit")
    found = {"score": score(figures[penalty]), "dev": figures[penalty], "head": f"fitted anew, penalty {penalty}"}
    (run / "refit" / "dev.json").write_text(json.dumps({**record, **found}, indent=1))


def _embedded(student: Student, corpora: Corpora, indices: list[int], condition: str) -> Tensor:
    return torch.from_numpy(embed(student, corpora, indices, condition, rough=True))


def _figures(corpora: Corpora, probe: Probe, dev: dict[str, Tensor]) -> dict[str, dict[str, Summary]]:
    indices = np.array(corpora.select("dev", labelled=True))
    return {name: summarise(corpora, indices, probe.logits(means).numpy()) for name, means in dev.items()}

"""Logistic regression on the teacher's pooled features: the soft labels a student learns from, and the bar to reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training.corpora import EMOTIONS, UNLABELLED, Clip

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDS = 6  # EMO-DB has six training speakers: one is left out each time
PENALTIES = (3e-2, 1e-1, 3e-1)


@dataclass(frozen=True)
class Probe:
    """Standardisation and a linear map, features [N, P] → logits [N, emotions]."""

    centre: Tensor
    scale: Tensor
    weight: Tensor  # [P, emotions]
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Judge features [N, P] → [N, emotions]."""
        return (features - self.centre) / self.scale @ self.weight + self.bias


def balanced_weights(clips: Sequence[Clip], shares: dict[str, float]) -> Tensor:
    """Weigh every labelled clip: each corpus gets its share, each class in it an equal part; sums to 1."""
    keys = [(clip.corpus, clip.emotion) for clip in clips]
    counts = {key: keys.count(key) for key in set(keys)}
    classes = {corpus: sum(key[0] == corpus for key in counts) for corpus, _ in counts}
    weights = torch.tensor([shares[key[0]] / classes[key[0]] / counts[key] for key in keys])
    return weights / weights.sum()


def fit(features: Tensor, emotions: Tensor, weights: Tensor, penalty: float) -> Probe:
    """Minimise weighted cross-entropy and an L2 penalty by L-BFGS."""
    centre, scale = features.mean(0), features.std(0) + 1e-4
    inputs = (features - centre) / scale
    weight = torch.zeros(inputs.shape[1], len(EMOTIONS), requires_grad=True)
    bias = torch.zeros(len(EMOTIONS), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=80, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        losses = F.cross_entropy(inputs @ weight + bias, emotions, reduction="none")
        loss = (losses * weights).sum() / weights.sum() + penalty * weight.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return Probe(centre, scale, weight.detach(), bias.detach())


def soft_labels(clips: Sequence[Clip], features: Tensor, shares: dict[str, float]) -> tuple[Tensor, dict[str, float]]:
    """Return probabilities [clips, emotions] that never saw the clip's own speaker, and how good they are.

    A labelled clip is judged by a probe fitted without its fold of speakers, an unlabelled one by the probe of all.
    The penalty is the one whose cross-fitted log-likelihood is best; only training clips belong here.
    """
    labelled = torch.tensor([clip.emotion != UNLABELLED for clip in clips])
    folds = torch.tensor(_fold_of_speakers(clips))
    emotions = torch.tensor([clip.emotion for clip in clips])
    weights = torch.zeros(len(clips))
    weights[labelled] = balanced_weights([clip for clip in clips if clip.emotion != UNLABELLED], shares)
    best, best_loss, best_penalty = torch.zeros(0), float("inf"), 0.0
    for penalty in PENALTIES:
        logits = torch.zeros(len(clips), len(EMOTIONS))
        for fold in range(FOLDS):
            seen, held_out = labelled & (folds != fold), labelled & (folds == fold)
            probe = fit(features[seen], emotions[seen], weights[seen], penalty)
            logits[held_out] = probe.logits(features[held_out])
        losses = F.cross_entropy(logits[labelled], emotions[labelled], reduction="none")
        loss = float((losses * weights[labelled]).sum())
        if loss < best_loss:
            best, best_loss, best_penalty = logits, loss, penalty
    whole = fit(features[labelled], emotions[labelled], weights[labelled], best_penalty)
    best[~labelled] = whole.logits(features[~labelled])
    right = (best.argmax(1) == emotions)[labelled].float()
    accuracy = float((right * weights[labelled]).sum())
    return best.softmax(1), {"penalty": best_penalty, "loss": best_loss, "balanced accuracy": accuracy}


def _fold_of_speakers(clips: Sequence[Clip]) -> list[int]:
    speakers = sorted({(clip.corpus, clip.speaker) for clip in clips})
    order = {name: rank for rank, name in enumerate(speakers)}
    return [order[clip.corpus, clip.speaker] % FOLDS for clip in clips]


def recall(emotions: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> float:
    """Return the unweighted average recall over the classes that occur, choosing among those only."""
    classes = np.unique(emotions)
    chosen = classes[logits[:, classes].argmax(1)]
    return float(np.mean([(chosen[emotions == k] == k).mean() for k in classes]))

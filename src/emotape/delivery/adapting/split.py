"""Which recordings train a model, and which ones judge it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from emotape.delivery.adapting.manifest import Sample

FEWEST: Final = 4  # recordings of a label; with fewer, dev or training would hold next to none
_DEV: Final = 0.2
_FOLDS: Final = 5

How = Literal["given", "speakers", "recordings"]


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the recordings for training and for dev, and who parted them.

    how      "given" by the manifest; "speakers": no speaker is in both; "recordings": at random, which flatters dev
    shared   speakers that are in both, where that was given
    lacking  labels that dev does not have
    """

    train: NDArray[np.intp]
    dev: NDArray[np.intp]
    how: How
    shared: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


def divide(samples: Sequence[Sample], seed: int) -> Split:
    """Part recordings into train and dev: as given; else by speakers, a fifth of them; else at random, as stratified.

    Raises BadRequest: "adapt_too_few", "adapt_one_speaker".
    """
    given = np.array([sample.part for sample in samples])
    labels = np.array([sample.label for sample in samples])
    speakers = np.array([sample.speaker for sample in samples])
    if (given == "dev").any():
        how: How = "given"
        dev = given == "dev"
    else:
        require_enough(samples, FEWEST)
        how = "speakers" if all(sample.speaker for sample in samples) else "recordings"
        dev = _by_speakers(labels, speakers, seed) if how == "speakers" else _at_random(labels, seed)
    require_enough([sample for sample, held in zip(samples, dev, strict=True) if not held], 2, among=set(labels))
    shared = sorted(set(speakers[dev]) & set(speakers[~dev]) - {""})
    lacking = sorted(set(labels) - set(labels[dev]))
    return Split(np.flatnonzero(~dev), np.flatnonzero(dev), how, tuple(shared), tuple(lacking))


def require_enough(samples: Sequence[Sample], fewest: int, among: Iterable[str] = ()) -> None:
    """Raise BadRequest "adapt_too_few" when a label, or one of those `among`, has fewer recordings than that."""
    found = dict.fromkeys(sorted(among), 0)
    for sample in samples:
        found[sample.label] = found.get(sample.label, 0) + 1
    few = ", ".join(f"{key} ({count})" for key, count in found.items() if count < fewest)
    if few:
        raise BadRequest("adapt_too_few", labels=few, fewest=fewest)


def _by_speakers(labels: NDArray[np.str_], speakers: NDArray[np.str_], seed: int) -> NDArray[np.bool_]:
    """Hold out speakers such that training keeps every label, and dev has as many labels as can be."""
    from sklearn.model_selection import StratifiedGroupKFold

    names = sorted(set(speakers))
    if len(names) < 2:
        raise BadRequest("adapt_one_speaker", speaker=names[0])
    parts = StratifiedGroupKFold(min(_FOLDS, len(names)), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a label may have fewer recordings than there are folds
        folds = [held for _, held in parts.split(labels, labels, speakers) if len(held)]
    best = max(folds, key=lambda held: _worth(labels, held))
    dev = np.zeros(len(labels), np.bool_)
    dev[best] = True
    return dev


def _worth(labels: NDArray[np.str_], held: NDArray[np.intp]) -> tuple[int, int, float]:
    """Rank a fold: labels that training keeps, labels that dev has, and how near it comes to a fifth."""
    kept = np.delete(labels, held)
    return len(set(kept)), len(set(labels[held])), -abs(len(held) / len(labels) - _DEV)


def _at_random(labels: NDArray[np.str_], seed: int) -> NDArray[np.bool_]:
    """Hold out a fifth of each label, one at least."""
    random = np.random.default_rng(seed)
    dev = np.zeros(len(labels), np.bool_)
    for label in sorted(set(labels)):
        its = np.flatnonzero(labels == label)
        dev[random.permutation(its)[: max(1, round(_DEV * len(its)))]] = True
    return dev

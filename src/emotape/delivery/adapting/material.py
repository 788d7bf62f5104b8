"""The recordings that count, with their embeddings, their classes and the part that each belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emotape.delivery.adapting.embeddings import embed, unreadable
from emotape.delivery.adapting.heads import Examples
from emotape.delivery.adapting.labels import choose_labels
from emotape.delivery.adapting.manifest import counts, labelled, merged_names, read_samples
from emotape.delivery.adapting.shelf import Embedded, Shelf, shelf_name
from emotape.delivery.adapting.split import divide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from emotape.delivery.adapting.manifest import Sample
    from emotape.delivery.adapting.options import AdaptOptions, Listener
    from emotape.delivery.adapting.split import Split
    from emotape.errors import EmotapeError
    from emotape.model.labels import Label
    from emotape.recognizer import Recognizer


@dataclass(frozen=True, eq=False)
class Material:
    """What is learned from. `failed` are recordings that could not be read, and why."""

    labels: tuple[Label, ...]
    samples: tuple[Sample, ...]
    embedded: tuple[Embedded, ...]
    split: Split
    failed: Mapping[Sample, EmotapeError]

    @property
    def classes(self) -> NDArray[np.intp]:
        """The class [n] of each recording."""
        places = {label.key: place for place, label in enumerate(self.labels)}
        return np.array([places[sample.label] for sample in self.samples], np.intp)

    def examples(self, places: NDArray[np.intp]) -> Examples:
        """Return the embeddings and classes of some recordings."""
        return Examples(np.stack([self.embedded[place].vector for place in places]), self.classes[places])


@dataclass(frozen=True)
class Chosen:
    """The labels to learn and the recordings that have them."""

    labels: tuple[Label, ...]
    samples: tuple[Sample, ...]


def choose(asked: AdaptOptions, listener: Listener) -> Chosen:
    """Read the manifests, settle on labels, and tell what was merged or left out.

    Raises BadRequest as `read_samples`, `choose_labels` and `divide` do, before anything is run.
    """
    found = read_samples(asked.recordings, asked.dev)
    labels = choose_labels(asked.labels, [sample.name for sample in found])
    samples = labelled(found, labels)
    for key, names in merged_names(samples).items():
        listener.say("adapt_merged", key=key, names=", ".join(names))
    learned = {label.key.casefold() for label in labels}
    left = {key: count for key, count in counts(found).items() if key.casefold() not in learned}
    if left:
        listener.say("adapt_left_out", what=", ".join(f"{key} × {count}" for key, count in left.items()))
    divide(samples, asked.seed)  # what is impossible is told before hours of decoding
    return Chosen(labels, samples)


def gather(chosen: Chosen, recognizer: Recognizer, asked: AdaptOptions, listener: Listener) -> Material:
    """Embed what was chosen, leave out what cannot be read, and part the rest.

    Raises BadRequest ("adapt_unreadable", "adapt_unwritable", those of `divide`).
    """
    name = shelf_name(recognizer.digest, recognizer.plan.arithmetic, recognizer.options.window)
    with Shelf(asked.cache, name) as shelf, listener.counting(len(chosen.samples)) as advance:
        found = embed(chosen.samples, recognizer, shelf, advance)
    failed = unreadable(chosen.samples, found)
    pairs = [
        (sample, embedded)
        for sample, embedded in zip(chosen.samples, found, strict=True)
        if isinstance(embedded, Embedded)
    ]
    samples = tuple(sample for sample, _ in pairs)
    split = divide(samples, asked.seed)
    _tell(split, samples, listener)
    return Material(chosen.labels, samples, tuple(embedded for _, embedded in pairs), split, failed)


def _tell(split: Split, samples: tuple[Sample, ...], listener: Listener) -> None:
    listener.say("adapt_split", train=len(split.train), dev=len(split.dev), labels=len(counts(samples)))
    if split.how == "recordings":
        listener.say("adapt_no_speakers")
    if split.shared:
        listener.say("adapt_shared_speakers", speakers=", ".join(split.shared))
    if split.lacking:
        listener.say("adapt_dev_lacks", labels=", ".join(split.lacking))

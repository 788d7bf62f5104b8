"""From recordings with labels to a model directory, on one screen."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.adapting.heads import fit_linear
from emotape.delivery.adapting.material import Material, choose, gather
from emotape.delivery.adapting.options import Listener, Step
from emotape.errors import EngineFault
from emotape.recognizer import Recognizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from emotape.delivery.adapting.finishing import Result
    from emotape.delivery.adapting.heads import Head
    from emotape.delivery.adapting.manifest import Sample
    from emotape.delivery.adapting.options import AdaptOptions
    from emotape.errors import EmotapeError
    from emotape.recognizer import RecognizerOptions

_NO_ROOM: Final = ("can't allocate memory", "not enough memory")  # what torch says on a processor


@dataclass(frozen=True, eq=False, repr=False)
class Adapted:
    """A model that was made.

    path         its directory, which every command and `Recognizer` takes
    figures      those on dev, as in its figures.json: n, accuracy, uar with its interval, per_class, temperature …
    failed       the recordings that could not be read and were left out (`file`, `line`, `path`, `label` …), and why
    interrupted  whether training was ended early; the model is then the best until there
    steps        what came about, warnings about the data among it; `text()` of a step is its sentence
    """

    path: Path
    figures: Mapping[str, Any]
    failed: Mapping[Sample, EmotapeError]
    interrupted: bool
    steps: tuple[Step, ...] = ()

    def __repr__(self) -> str:
        uar, n = self.figures["uar"], self.figures["n"]
        more = f"failed={len(self.failed)}, interrupted={self.interrupted}"
        return f"Adapted(path={str(self.path)!r}, uar={uar:.3f}, n={n}, {more})"

    def as_dict(self) -> dict[str, Any]:
        """Return what `emotape adapt --json` prints: the figures, and beside them path, interrupted and unreadable."""
        said = {"path": str(self.path), "interrupted": self.interrupted, "unreadable": len(self.failed)}
        return {**said, **self.figures}


def make(asked: AdaptOptions, model: str | Path | None, how: RecognizerOptions, listener: Listener) -> Adapted:
    """Make a model of one's own labels: embeddings once, a head on them, and the last blocks tuned where asked.

    Raises BadRequest (those of `read_table`, "adapt_…"), ModelFault, and EngineFault ("adapt_out_of_memory",
    "adapt_unfaithful", those of a recognizer). Nothing is left half-written.
    """
    from emotape.delivery.adapting.directory import require_place, workshop
    from emotape.delivery.adapting.finishing import finish

    steps: list[Step] = []
    listener = _noting(listener, steps)
    require_place(asked.output, force=asked.force)
    recognizer = Recognizer(model, options=how)
    asked.require_sense(_blocks(recognizer), how.engine.dtype)
    chosen = choose(asked, listener)
    with _room(), workshop(asked.output) as folder:
        with recognizer:
            material = gather(chosen, recognizer, asked, listener)
            result = _learn(material, recognizer, asked, listener, folder)
        listener.say("adapt_checking")
        figures = finish(folder, material, result, asked, how)
    return Adapted(asked.output, figures, material.failed, result.interrupted, tuple(steps))


def _noting(listener: Listener, steps: list[Step]) -> Listener:
    """Return a listener that also keeps what it is told."""

    def tell(step: Step) -> None:
        steps.append(step)
        listener.tell(step)

    return Listener(tell, listener.counting)


def _learn(material: Material, recognizer: Recognizer, asked: AdaptOptions, listener: Listener, folder: Path) -> Result:
    from emotape.delivery.adapting.directory import Learned
    from emotape.delivery.adapting.finishing import Result

    head = _head(material, asked)
    base = recognizer.model, recognizer.digest
    if not asked.tunes:
        return Result(*base, Learned(head, {}), head.logits(material.examples(material.split.dev).vectors))
    from emotape.delivery.adapting.fine_tuning import fine_tune

    learned, logits, interrupted = fine_tune(material, head, recognizer, asked, listener, folder)
    return Result(*base, learned, logits, interrupted)


def _head(material: Material, asked: AdaptOptions) -> Head:
    train, dev = material.examples(material.split.train), material.examples(material.split.dev)
    if asked.head == "linear":
        return fit_linear(train, dev, len(material.labels))
    from emotape.delivery.adapting.mlp import fit_mlp

    return fit_mlp(train, dev, len(material.labels), asked.seed)


def _blocks(recognizer: Recognizer) -> int:
    from emotape.model.dims import read_dims
    from emotape.model.weights import CONFIG

    return read_dims(recognizer.model.path / CONFIG, classes=0).blocks


@contextmanager
def _room() -> Iterator[None]:
    """Turn a lack of memory into EngineFault "adapt_out_of_memory"."""
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise EngineFault("adapt_out_of_memory") from error
    except RuntimeError as error:
        if not any(said in str(error) for said in _NO_ROOM):
            raise
        raise EngineFault("adapt_out_of_memory") from error

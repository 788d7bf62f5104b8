"""`emotape.adapt`: the command's options as a function's arguments."""

from __future__ import annotations

import os
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from emotape.delivery.adapting.adaptation import Adapted, make
from emotape.delivery.adapting.options import DEFAULT_OUTPUT, AdaptOptions, Listener, Step
from emotape.delivery.counting import counting
from emotape.recognizer import RecognizerOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.delivery.adapting.heads import HeadKind
    from emotape.delivery.adapting.labels import Labels
    from emotape.delivery.counting import Progress


def adapt(
    recordings: str | os.PathLike[str],
    output: str | os.PathLike[str] = DEFAULT_OUTPUT,
    *,
    dev: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    head: HeadKind = "linear",
    unfreeze: int = 0,
    lora: int = 0,
    epochs: int = 20,
    learning_rate: float | None = None,
    batch_seconds: float = 64.0,
    seed: int = 0,
    force: bool = False,
    model: str | os.PathLike[str] | None = None,
    options: RecognizerOptions | None = None,
    progress: Progress | None = None,
) -> Adapted:
    """Make a model of your own labels from labelled recordings, as the command `emotape adapt` does.

        made = emotape.adapt("calls", "calls-model")
        print(made.figures["uar"])
        with emotape.Recognizer(made.path) as recognizer: ...

    recordings     a CSV with the columns file and label, and optionally speaker and split, paths relative to it; or a
                   folder of LABEL/FILE or LABEL/SPEAKER/FILE
    output         the model directory to write; one that is there is replaced only with `force`
    dev            a CSV or a folder of the recordings that judge; None: the rows whose split says dev, else about a
                   fifth of the speakers, else a fifth of each label
    labels         the labels to learn, in this order: names, "A,B,C", or the path of a YAML, JSON or TOML file with
                   their en, zh and emoji; None: all there are
    head           "linear": logistic regression on the embeddings; "mlp": one hidden layer of 128
    unfreeze       how many of the network's last blocks are trained, too
    lora           the rank of adapters (Hu et al., 2021, arXiv:2106.09685) that are trained instead of the blocks'
                   weights; 0: none
    epochs         with `unfreeze` or `lora`: how often the data is gone through at most
    learning_rate  with these: the highest of the one cycle; None: by the size of the network
    batch_seconds  with these: seconds of audio at a time
    seed           decides what is left to chance: same seed, data and machine, same model
    model          the model to start from: a name, a directory, or None for the best on this machine
    options        how the recognizer works that embeds the recordings and checks the result
    progress       called in this thread with how many are done and how many there are, stage by stage: recordings that
                   are embedded; where blocks are trained, recordings that went through the others, then epochs

    Nothing is printed. KeyboardInterrupt while blocks are trained (Ctrl-C, or a notebook's button to interrupt) ends
    the training with the best so far: `interrupted` says so, and the same call with `force` goes on from there. A
    `progress` that raises KeyboardInterrupt does the same, from any thread. At any other time it leaves no model, but
    embeddings are kept.

    Raises BadRequest (a manifest or an argument that makes no sense, too few recordings, a place that cannot be written
    to: "manifest_…", "folder_unlabelled", "adapt_…"; the texts name the command's options, which are called like the
    arguments), ModelFault where there is no such model, and EngineFault ("adapt_out_of_memory", "adapt_unfaithful").
    """
    given = {name: value for name, value in locals().items() if name not in ("options", "progress")}
    asked = AdaptOptions(
        recordings=Path(recordings),
        output=Path(output),
        dev=None if dev is None else Path(dev),
        labels=_labels(labels),
        head=head,
        unfreeze=unfreeze,
        lora=lora,
        epochs=epochs,
        rate=learning_rate,
        batch_seconds=batch_seconds,
        seed=seed,
        force=force,
        command=_call(given, options),
    )
    base = model if model is None or isinstance(model, str) else Path(model)
    return make(asked, base, options or RecognizerOptions(), _listener(epochs, progress))


def _labels(given: str | os.PathLike[str] | Sequence[str] | None) -> Labels | None:
    if given is None or isinstance(given, str):
        return given
    return os.fspath(given) if isinstance(given, os.PathLike) else tuple(given)


def _call(given: Mapping[str, object], options: RecognizerOptions | None) -> str:
    """Return the call as Python, for the card; what was left at its default is left out."""
    parameters = signature(adapt).parameters
    changed = [f"{name}={_literal(value)}" for name, value in given.items() if value != parameters[name].default]
    return f"emotape.adapt({', '.join([*changed, *(['options=...'] if options else [])])})"


def _literal(value: object) -> str:
    return repr(os.fspath(value)) if isinstance(value, os.PathLike) else repr(value)


def _listener(epochs: int, progress: Progress | None) -> Listener:
    """Tell of nothing but how far the run is."""

    def tell(step: Step) -> None:
        if progress is not None and step.code == "adapt_epoch":
            progress(int(str(step.facts["epoch"])), epochs)

    return Listener(tell, counting(progress))

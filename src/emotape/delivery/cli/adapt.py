"""`emotape adapt`: a model of one's own labels."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emotape.delivery.cli.errors import error_lines
from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import (  # noqa: TC001 - so do these
    DeviceOption,
    DtypeOption,
    LanguageOption,
    ModelOption,
    ModelsFolderOption,
    ThreadsOption,
)
from emotape.delivery.threads import heeded
from emotape.settings import read_settings, recognizer_options
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.delivery.adapting.adaptation import Adapted
    from emotape.delivery.adapting.options import Listener, Step
    from emotape.wording import Language


def adapt(
    context: typer.Context,
    recordings: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST|DIR",
            show_default=False,
            help="CSV with the columns file, label[, speaker, split], paths relative to it; or a folder of"
            " LABEL/FILE or LABEL/SPEAKER/FILE.",
        ),
    ],
    dev: Annotated[
        Path | None,
        typer.Option(
            help="Manifest or folder of the recordings that judge. Without it, some are held out.",
            metavar="MANIFEST|DIR",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="Labels to learn, in this order: A,B,C, or a YAML, JSON or TOML file with their en, zh and emoji.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        Literal["linear", "mlp"], typer.Option(help="The classifier: linear, or with one hidden layer.")
    ] = "linear",
    unfreeze: Annotated[int, typer.Option(help="Train the network's last N blocks, too.", metavar="N")] = 0,
    lora: Annotated[
        int, typer.Option(help="Train low-rank adapters of this rank instead of the blocks' weights.", metavar="RANK")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option(help="Model directory to write. (default: ./adapted)", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides what is left to chance.")] = 0,
    epochs: Annotated[int, typer.Option(help="With --unfreeze or --lora: go through the data at most so often.")] = 20,
    learning_rate: Annotated[
        float | None, typer.Option(help="With --unfreeze or --lora. (default: by size)", show_default=False)
    ] = None,
    batch_seconds: Annotated[
        float, typer.Option(help="With --unfreeze or --lora: seconds of audio at a time; fewer need less memory.")
    ] = 64.0,
    force: Annotated[bool, typer.Option("--force", help="Replace a model directory that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Make a model of your own labels from labelled recordings. Ctrl-C while it trains keeps the best so far."""
    from emotape.delivery.adapting.adaptation import make
    from emotape.delivery.adapting.options import DEFAULT_OUTPUT, AdaptOptions

    settings = read_settings(
        model=model, models_folder=models_folder, language=language, device=device, dtype=dtype, threads=threads
    )
    settings, _ = heeded(context, settings)
    spoken = settle_language(context, settings)
    asked = AdaptOptions(
        recordings=recordings,
        output=output or DEFAULT_OUTPUT,
        dev=dev,
        labels=labels,
        head=head,
        unfreeze=unfreeze,
        lora=lora,
        epochs=epochs,
        rate=learning_rate,
        batch_seconds=batch_seconds,
        seed=seed,
        force=force,
        command=_command(),
    )
    made = make(asked, settings.model, recognizer_options(settings), _listener(spoken))
    _print(made, spoken, as_json=as_json)


def _command() -> str:
    """Return the command as it was given, for the card."""
    return shlex.join(["emotape", *sys.argv[1:]])


def _listener(language: Language) -> Listener:
    """Tell of the run on standard error."""
    from emotape.delivery.adapting.options import Listener
    from emotape.delivery.cli.show import progress, terminal

    console = terminal(stderr=True)

    def tell(step: Step) -> None:
        console.print(step.text(language), soft_wrap=True)

    return Listener(tell, lambda total: progress(console, total, language, follow_output=False))


def _print(made: Adapted, language: Language, *, as_json: bool) -> None:
    from emotape.delivery.cli.show import terminal

    err = terminal(stderr=True)
    for sample, error in made.failed.items():
        err.print(error_lines(error, language, sample.place), soft_wrap=True)
    if made.interrupted:
        err.print(interface_text("adapt_interrupted", language), soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps(made.as_dict(), indent=2, ensure_ascii=True) + "\n")
        return
    interval = made.figures["interval"]
    facts = {name: made.figures[name] for name in ("uar", "accuracy", "n")}
    line = interface_text("adapt_done", language, path=made.path, low=interval["low"], high=interval["high"], **facts)
    terminal().print(line, soft_wrap=True)

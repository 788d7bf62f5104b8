"""`emotape evaluate`: how well a model does on a labelled manifest."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emotape.delivery.cli.errors import outcome_code
from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import (
    DeviceOption,
    DtypeOption,
    LanguageOption,
    ModelOption,
    ModelsFolderOption,
    OffloadOption,
    ThreadsOption,
)
from emotape.delivery.threads import heeded
from emotape.settings import read_settings, recognizer_options

if TYPE_CHECKING:
    from emotape.delivery.evaluation.assessment import Saved
    from emotape.delivery.evaluation.record import Evaluation
    from emotape.wording import Language


def evaluate(
    context: typer.Context,
    recordings: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST|DIR",
            show_default=False,
            help="CSV with the columns file, label[, corpus, speaker, fold], paths relative to it; or a folder of"
            " LABEL/FILE or LABEL/SPEAKER/FILE.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write evaluation.json, predictions.csv and pictures into this folder."),
    ] = None,
    restrict: Annotated[
        bool,
        typer.Option(
            "--restrict/--no-restrict",
            help="Recognise the best of the classes that the manifest has, or the best of all labels.",
        ),
    ] = True,
    include_other: Annotated[
        bool, typer.Option("--include-other", help="Count rows labelled other or unknown, too.")
    ] = False,
    speakers: Annotated[
        str | None, typer.Option(help="Count only these speakers, separated by commas.", metavar="A,B")
    ] = None,
    label_map: Annotated[
        Path | None, typer.Option(help='TOML that says what a corpus\'s own labels mean: boredom = "neutral".')
    ] = None,
    bins: Annotated[int, typer.Option(min=2, max=1000, help="Bins of equal width of the calibration error.")] = 15,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn: intervals, noise, rooms.")] = 0,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also hear every recording under each harder condition.")
    ] = False,
    fit_temperature: Annotated[
        bool, typer.Option("--fit-temperature", help="Fit the temperature of the confidence to these recordings.")
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            show_default=False,
            help="Choose the threshold that leaves this share certain; 0.8 with --fit-temperature.",
        ),
    ] = None,
    save: Annotated[bool, typer.Option("--save", help="Save what was fitted in the model's own folder.")] = False,
    save_as: Annotated[
        Path | None, typer.Option(help="Save a copy of the model with what was fitted in this new folder.")
    ] = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = None,
) -> None:
    """Compare a model's emotions with those of labelled recordings.

    Exit codes: as for recognize.
    """
    from emotape.delivery.cli.show import progress, terminal
    from emotape.delivery.evaluation.assessment import assess, keep
    from emotape.delivery.evaluation.manifest import Choice
    from emotape.delivery.evaluation.options import EvaluateOptions
    from emotape.delivery.evaluation.protocol import Rules

    settings = read_settings(
        model=model,
        models_folder=models_folder,
        language=language,
        device=device,
        dtype=dtype,
        threads=threads,
        offload=offload,
    )
    settings, _ = heeded(context, settings)
    spoken = settle_language(context, settings)
    asked = EvaluateOptions(
        recordings=recordings,
        choice=Choice.of(speakers or "", leftovers=include_other),
        rules=Rules(restrict, bins, seed),
        label_map=label_map,
        robustness=robustness,
        fit_temperature=fit_temperature,
        coverage=coverage,
        save=save,
        save_as=save_as,
    )
    how = recognizer_options(settings)
    err = terminal(stderr=True)
    found = assess(asked, settings.model, how, lambda total: progress(err, total, spoken, follow_output=False))
    _deliver(found, output, spoken, as_json=as_json)
    _tell(keep(found, asked, settings.model, how), spoken)
    raise typer.Exit(outcome_code(found.figures.n, len(found.failures)))


def _deliver(found: "Evaluation", output: Path | None, language: "Language", *, as_json: bool) -> None:
    from emotape.delivery.cli.scorecard import print_scorecard

    if output is not None:
        found.write(output, language)
    if as_json:
        sys.stdout.write(json.dumps(found.as_dict(language), ensure_ascii=True, indent=2) + "\n")
    else:
        print_scorecard(found, language)


def _tell(saved: "Saved | None", language: "Language") -> None:
    from emotape.delivery.cli.scorecard import tell_saved

    if saved is not None:
        tell_saved(saved.path, saved.digest, language)

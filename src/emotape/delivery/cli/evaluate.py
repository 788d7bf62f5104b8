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
    from collections.abc import Iterator, Sequence

    from emotape.delivery.evaluation.manifest import Row
    from emotape.delivery.evaluation.record import Judgement
    from emotape.settings import Settings
    from emotape.wording import Language


def evaluate(
    context: typer.Context,
    manifest: Annotated[
        Path,
        typer.Argument(show_default=False, help="CSV with the columns file, label[, speaker]; paths relative to it."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write evaluation.json, predictions.csv, confusion.png and reliability.png here."),
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
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = None,
) -> None:
    """Compare a model's emotions with those of a labelled manifest.

    Exit codes: as for recognize.
    """
    from emotape.delivery.cli.scorecard import print_scorecard
    from emotape.delivery.evaluation.manifest import Choice, choose, left_out, read_manifest
    from emotape.delivery.evaluation.record import evaluated, json_record, write_record

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
    choice = Choice(frozenset(name.strip() for name in (speakers or "").split(",") if name.strip()), include_other)
    rows = read_manifest(manifest)
    judged = tuple(_judged(choose(rows, choice, manifest), settings, spoken))
    found = evaluated(judged, left_out(rows, choice), restrict=restrict)
    if output is not None:
        write_record(found, output, spoken)
    if as_json:
        sys.stdout.write(json.dumps(json_record(found, spoken), ensure_ascii=True, indent=2) + "\n")
    else:
        print_scorecard(found, spoken)
    raise typer.Exit(outcome_code(found.figures.n, len(found.failures)))


def _judged(rows: "Sequence[Row]", settings: "Settings", language: "Language") -> "Iterator[Judgement]":
    """Yield a judgement on every row, made by one recognizer, under a progress bar."""
    from emotape.delivery.batch import Batch, BatchOptions
    from emotape.delivery.cli.show import progress, terminal
    from emotape.delivery.clock import local_now
    from emotape.delivery.evaluation.record import judgement_of
    from emotape.recognizer import Recognizer

    options = recognizer_options(settings)
    with Recognizer(settings.model, options=options) as recognizer:
        asked = BatchOptions(options.decode)
        with (
            progress(terminal(stderr=True), len(rows), language, follow_output=False) as advance,
            Batch(recognizer, asked, local_now) as batch,
        ):
            for outcome in batch.outcomes(rows):
                yield judgement_of(outcome)
                advance()

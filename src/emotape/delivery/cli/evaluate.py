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
from emotape.errors import BadRequest
from emotape.settings import read_settings, recognizer_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.delivery.evaluation.fitting import Wish
    from emotape.delivery.evaluation.manifest import Choice, Row
    from emotape.delivery.evaluation.record import Evaluation, Material
    from emotape.settings import Settings
    from emotape.store.catalogue import ModelEntry
    from emotape.wording import Language


def evaluate(
    context: typer.Context,
    manifest: Annotated[
        Path,
        typer.Argument(
            show_default=False,
            help="CSV with the columns file, label[, corpus, speaker, fold]; paths relative to it.",
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
    """Compare a model's emotions with those of a labelled manifest.

    Exit codes: as for recognize.
    """
    from emotape.delivery.evaluation.manifest import Choice
    from emotape.delivery.evaluation.protocol import Rules
    from emotape.delivery.evaluation.record import evaluated
    from emotape.store.catalogue import resolve

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
    wish = _wish(fit_temperature, coverage, save=save or save_as is not None)
    entry = resolve(settings.model, settings.models_folder)
    target = _target(entry, save_as) if save or save_as is not None else None
    choice = Choice(frozenset(name.strip() for name in (speakers or "").split(",") if name.strip()), include_other)
    rules = Rules(restrict, bins, seed)
    rows = _rows(manifest, label_map, entry)
    found = evaluated(_material(rows, choice, manifest, settings, spoken, seed if robustness else None), rules, wish)
    _deliver(found, output, spoken, as_json=as_json)
    if target is not None:
        _save(found, entry, target, spoken)
    raise typer.Exit(outcome_code(found.figures.n, len(found.failures)))


def _wish(temperature: bool, coverage: float | None, *, save: bool) -> "Wish | None":
    """Return what is to be fitted; None for nothing. Raises BadRequest where there is nothing to save."""
    from emotape.delivery.evaluation.fitting import COVERAGE, Wish

    if not temperature and coverage is None:
        if save:
            raise BadRequest("option_needs", option="--save", needed="--fit-temperature / --coverage")
        return None
    return Wish(temperature, COVERAGE if coverage is None else coverage)


def _target(entry: "ModelEntry", save_as: Path | None) -> Path:
    """Return where the model will be saved, as soon as it is known that it can be."""
    from emotape.delivery.evaluation.saving import check_target

    target = save_as or entry.path
    check_target(entry.path, target, bundled=entry.origin == "bundled")
    return target


def _rows(manifest: Path, label_map: Path | None, entry: "ModelEntry") -> "tuple[Row, ...]":
    from emotape.delivery.evaluation.manifest import read_manifest
    from emotape.delivery.evaluation.names import label_names
    from emotape.model.weights import read_labels

    return read_manifest(manifest, label_names(read_labels(entry.path), label_map))


def _material(
    rows: "Sequence[Row]",
    choice: "Choice",
    manifest: Path,
    settings: "Settings",
    language: "Language",
    sweep_seed: int | None,
) -> "Material":
    """Answer the rows that count by one recognizer, under a progress bar; with a seed, under harder conditions too."""
    from emotape.delivery.cli.show import progress, terminal
    from emotape.delivery.evaluation.answering import judge, under
    from emotape.delivery.evaluation.codecs import missing
    from emotape.delivery.evaluation.conditions import conditions
    from emotape.delivery.evaluation.manifest import choose, left_out, unknown_labels
    from emotape.delivery.evaluation.record import Material
    from emotape.recognizer import Recognizer

    counted = choose(rows, choice, manifest)
    sweep = () if sweep_seed is None else conditions()
    total = len(counted) * (1 + len(sweep))
    options = recognizer_options(settings)
    with (
        Recognizer(settings.model, options=options) as recognizer,
        progress(terminal(stderr=True), total, language, follow_output=False) as advance,
    ):
        judged = judge(recognizer, counted, advance)
        harder = {
            each.name: judge(recognizer, counted, advance, under(each, recognizer.decode, sweep_seed or 0))
            for each in sweep
        }
    absent = missing() if sweep else ()
    return Material(judged, left_out(rows, choice), unknown_labels(rows, choice), harder, absent)


def _deliver(found: "Evaluation", output: Path | None, language: "Language", *, as_json: bool) -> None:
    from emotape.delivery.cli.scorecard import print_scorecard
    from emotape.delivery.evaluation.report import json_record, write_record

    if output is not None:
        write_record(found, output, language)
    if as_json:
        sys.stdout.write(json.dumps(json_record(found, language), ensure_ascii=True, indent=2) + "\n")
    else:
        print_scorecard(found, language)


def _save(found: "Evaluation", entry: "ModelEntry", target: Path, language: "Language") -> None:
    from emotape.delivery.cli.scorecard import tell_saved
    from emotape.delivery.evaluation.saving import save

    if found.fit is not None:
        tell_saved(target, save(found.fit, entry.path, target).digest, language)

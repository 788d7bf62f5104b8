"""`emotape profile`: where the time of an answer goes on this machine, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from emotape.delivery.cli.errors import ExitCode, error_lines, outcome_code
from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import (  # noqa: TC001 - so does this
    DeviceOption,
    DtypeOption,
    GranularityName,
    LanguageOption,
    ModelOption,
    ModelsFolderOption,
    OffloadOption,
    ThreadsOption,
)
from emotape.errors import BadRequest
from emotape.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.delivery.profiling.measure import Profile
    from emotape.engine.result import Granularity
    from emotape.wording import Language


def profile(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", show_default=False, help="Recordings.")],
    repeat: Annotated[
        int, typer.Option(min=1, help="Warm answers to each recording; the tables show their medians.")
    ] = 5,
    granularity: Annotated[
        list[GranularityName] | None,
        typer.Option(help="Granularity to measure; may be repeated. (default: utterance and frame)"),
    ] = None,
    embedding: Annotated[bool, typer.Option("--embedding", help="Have the embedding made, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    trace: Annotated[
        Path | None, typer.Option(help="Write Chrome trace events to this JSON file; ui.perfetto.dev opens it.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a timeline to this PNG file.")] = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = None,
) -> None:
    """Measure each stage of an answer: time, processor, memory and share; name the bottleneck and what helps."""
    from emotape.delivery.profiling import measure

    settings = read_settings(
        model=model,
        models_folder=models_folder,
        language=language,
        device=device,
        dtype=dtype,
        threads=threads,
        offload=offload,
    )
    spoken = settle_language(context, settings)
    kinds = tuple(dict.fromkeys(name.value for name in granularity or ())) or ("utterance", "frame")
    asked = measure.Asked(
        tuple(dict.fromkeys(files)), cast("tuple[Granularity, ...]", kinds), embedding=embedding, repeat=repeat
    )
    found = measure.profile(settings, asked)
    for failure in found.failures:
        typer.echo(error_lines(failure.error, spoken, str(failure.file)), err=True)
    if not found.runs:
        raise typer.Exit(ExitCode.ALL_FAILED)
    _deliver(found, spoken, as_json=as_json)
    _write(found, trace, plot)
    raise typer.Exit(outcome_code(len(asked.files) - len(found.failures), len(found.failures)))


def _deliver(found: Profile, language: Language, *, as_json: bool) -> None:
    """Print the figures."""
    from emotape.delivery.cli.screen import speak_utf8
    from emotape.delivery.cli.show import terminal
    from emotape.delivery.profiling.document import document
    from emotape.delivery.profiling.summary import summarise
    from emotape.delivery.profiling.text import show

    speak_utf8(machine=as_json)
    summary = summarise(found)
    if as_json:
        typer.echo(json.dumps(document(found, summary, language), ensure_ascii=False, indent=2))
    else:
        show(found, summary, terminal(), language)


def _write(found: Profile, trace: Path | None, plot: Path | None) -> None:
    """Write what was asked for. Raises BadRequest ("output_unwritable")."""
    from emotape.delivery.profiling import timeline
    from emotape.delivery.profiling.trace import trace as events_of

    def write_trace(path: Path) -> None:
        path.write_text(json.dumps(events_of(found)), encoding="utf-8")

    def write_plot(path: Path) -> None:
        timeline.draw(found, path)

    _write_one(trace, write_trace)
    _write_one(plot, write_plot)


def _write_one(path: Path | None, write: Callable[[Path], Any]) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(path), reason=error.strerror or str(error)) from error

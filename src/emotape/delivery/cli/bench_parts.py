"""What every command of `emotape bench` shares: its options, which model it takes, and how findings are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from emotape.delivery.cli.language import settle_language
from emotape.errors import BadRequest
from emotape.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.delivery.bench.report import Findings
    from emotape.delivery.bench.subject import Choice

Asked = TypeVar("Asked")

RandomOption = Annotated[
    str | None, typer.Option(help="Instead of a model: random weights of a published size, large or base.")
]
OutputOption = Annotated[
    Path | None, typer.Option(help="Write the figures to this JSON file, and a plot (.png) beside it.")
]
RunsOption = Annotated[int, typer.Option(min=1, help="Rounds; every side has one turn in each.")]
DtypesOption = Annotated[str, typer.Option("--dtype", help="Arithmetics of emotape, separated by commas.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads of the network. Unset: the machine's cores.")]


def choose(
    context: typer.Context, model: str | None, folder: Path | None, random: str | None, language: str | None
) -> Choice:
    """Settle the language and the model. Raises BadRequest `bench_both_models`."""
    from emotape.delivery.bench.subject import Choice

    settings = read_settings(model=model, models_folder=folder, language=language)
    settle_language(context, settings)
    if model is not None and random is not None:
        raise BadRequest("bench_both_models")
    return Choice(settings.model, settings.models_folder, random)


def tell_all(measure: Callable[[Asked, Callable[[str], None]], Findings], asked: Asked, output: Path | None) -> None:
    """Measure what is asked, print the tables, and write what is to be written."""
    from emotape.delivery.bench.report import Report, Surroundings

    before = Surroundings()
    report = Report(measure(asked, tell), before)
    typer.echo(report.text())
    if output is not None:
        for path in report.write(output):
            tell(f"written: {path}")


def tell(line: str) -> None:
    """Say how far it is, on standard error."""
    typer.echo(line, err=True)

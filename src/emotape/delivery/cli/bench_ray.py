"""`emotape bench cluster` and `emotape bench batch`: what the way through Ray costs."""

from __future__ import annotations

from typing import Annotated

import typer

from emotape.delivery.cli.bench_lists import numbers
from emotape.delivery.cli.bench_parts import OutputOption, RandomOption, RunsOption, choose, tell_all
from emotape.delivery.cli.options import LanguageOption, ModelOption, ModelsFolderOption  # noqa: TC001 - typer's


def cluster(
    context: typer.Context,
    seconds: Annotated[str, typer.Option(help="Lengths of clips in seconds, separated by commas.")] = "3,10",
    clips: Annotated[int, typer.Option(min=1, help="Clips in a round.")] = 64,
    in_flight: Annotated[int, typer.Option(min=1, help="Clips under way at a time.")] = 32,
    runs: RunsOption = 7,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Measure what the way through Ray costs, beside the engine in one process on the same cores."""
    from emotape.delivery.bench import cluster as benchmark
    from emotape.delivery.cli.cluster import require_packages

    require_packages()
    choice = choose(context, model, models_folder, random, language)
    asked = benchmark.ClusterOptions(choice, numbers("--seconds", seconds), clips, in_flight, runs)
    tell_all(benchmark.measure, asked, output)


def batch(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of the recordings.")] = 3.0,
    recordings: Annotated[int, typer.Option(min=200, help="Recordings in a round.")] = 1_000,
    runs: RunsOption = 5,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Measure what `emotape batch --ray` costs, beside the same batch without it on the same cores."""
    from emotape.delivery.bench import batch as benchmark
    from emotape.delivery.cli.batch import check_ray

    check_ray()
    choice = choose(context, model, models_folder, random, language)
    tell_all(benchmark.measure, benchmark.BatchOptions(choice, seconds, recordings, runs), output)

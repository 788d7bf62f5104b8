"""`emotape bench export`: exported graphs beside the engine."""

from __future__ import annotations

from typing import Annotated

import typer

from emotape.delivery.cli.bench_lists import names, numbers
from emotape.delivery.cli.bench_parts import OutputOption, RandomOption, RunsOption, choose, tell_all
from emotape.delivery.cli.options import LanguageOption, ModelOption, ModelsFolderOption  # noqa: TC001 - typer's


def export(
    context: typer.Context,
    dtype: Annotated[
        str, typer.Option(help="Graphs, separated by commas; dynamic is ONNX Runtime's own quantisation.")
    ] = "float32,float16,int8,dynamic",
    seconds: Annotated[str, typer.Option(help="Lengths of the clips that are timed.")] = "3,10,30",
    compared: Annotated[int, typer.Option(min=1, help="Clips on which scores and labels are compared.")] = 100,
    threads: Annotated[int, typer.Option(min=1, help="Threads of either side.")] = 1,
    runs: RunsOption = 7,
    random: RandomOption = None,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    output: OutputOption = None,
) -> None:
    """Compare exported ONNX graphs with the engine: size, time, agreement."""
    from emotape.delivery.bench import export as benchmark

    choice = choose(context, model, models_folder, random, language)
    asked = benchmark.ExportBenchOptions(
        choice, names("--dtype", dtype), numbers("--seconds", seconds), runs, threads, compared
    )
    tell_all(benchmark.measure, asked, output)

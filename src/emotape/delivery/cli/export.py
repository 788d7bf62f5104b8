"""`emotape export`: the model as a file that other programs run."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import LanguageOption, ModelOption, ModelsFolderOption  # noqa: TC001 - so do these
from emotape.settings import read_settings
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.delivery.graph.writing import Exported, GraphOptions

app = typer.Typer(help="Write the model as a file that other programs run.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Write the model as a file that other programs run."""


@app.command()
def onnx(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="File to write, as in model.onnx.", show_default=False)],
    dtype: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(help="Arithmetic. int8: weights in 8 bits, arithmetic in float32."),
    ] = "float32",
    opset: Annotated[int, typer.Option(help="ONNX operator set.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
) -> None:
    """Write one graph from 16 kHz samples to scores and embeddings, and check it against the model."""
    from emotape.delivery.graph.writing import GraphOptions, export_onnx
    from emotape.store.catalogue import resolve

    settings = read_settings(model=model, models_folder=models_folder, language=language)
    spoken = settle_language(context, settings)
    options = GraphOptions(output, dtype, opset)
    made = export_onnx(resolve(settings.model, settings.models_folder), options)
    facts = _facts(made, options)
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    shown = {"path": output, "size": f"{made.bytes / 1e6:.1f} MB", "dtype": dtype, "opset": opset}
    agreement = {"outputs": made.agreement.outputs, "scores": made.agreement.scores}
    typer.echo(interface_text("export_done", spoken, **shown, **agreement))


def _facts(made: Exported, options: GraphOptions) -> dict[str, Any]:
    return {
        "files": [str(file) for file in made.files],
        "bytes": made.bytes,
        "digest": made.digest,
        "dtype": options.dtype,
        "opset": options.opset,
        "agreement": {"outputs": made.agreement.outputs, "scores": made.agreement.scores},
    }

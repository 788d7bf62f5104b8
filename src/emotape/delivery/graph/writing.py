"""A model becomes a file that holds the whole network, checked before anybody gets it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Literal

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

    from emotape.delivery.graph.check import Agreement
    from emotape.model.weights import LoadedModel
    from emotape.store.catalogue import ModelEntry

GraphDtype = Literal["float32", "float16", "int8"]
DEFAULT_OPSET: Final = 20
LARGEST_FILE: Final = 1_900_000_000
"""Bytes of weights that are written into the graph's own file; protocol buffers end at 2 GB."""
_PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class GraphOptions:
    """Which file to write, in which arithmetic, with which ONNX operator set."""

    output: Path
    dtype: GraphDtype = "float32"
    opset: int = DEFAULT_OPSET


@dataclass(frozen=True)
class Exported:
    """What was written: the graph first, then its weights where they do not fit into one file (2 GB)."""

    files: tuple[Path, ...]
    bytes: int
    digest: str
    agreement: Agreement


def export_onnx(entry: ModelEntry, options: GraphOptions) -> Exported:
    """Write a model as one ONNX graph, in place of whatever had that name. A graph that fails its check is not left.

    Raises BadRequest (`export_package_missing`, `export_opset`, `output_unwritable`), ModelFault, and EngineFault
    (`export_untraceable`, `export_unusable`, `export_disagrees`).
    """
    _require_packages()
    from emotape.model.weights import load

    exact = load(entry.path)
    return write_checked(make_program(entry, exact, options), exact, options)


def write_checked(program: ONNXProgram, exact: LoadedModel, options: GraphOptions) -> Exported:
    """Write a graph beside its place, hold it to the model, and give it its place. Raises as `export_onnx` does."""
    from emotape.delivery.graph.check import check

    output = options.output
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".emotape-export-", dir=output.parent) as folder:
            made = Path(folder) / output.name
            program.save(made, external_data=_weight_bytes(program) > LARGEST_FILE)
            agreement = check(made, exact, options.dtype)
            files = _move(made, output)
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(output), reason=error.strerror or str(error)) from error
    return Exported(files, sum(file.stat().st_size for file in files), exact.digest, agreement)


def _weight_bytes(program: ONNXProgram) -> int:
    weights = (value.const_value for value in program.model.graph.initializers.values())
    return sum(weight.nbytes for weight in weights if weight is not None)


def _require_packages() -> None:
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise BadRequest("export_package_missing", package=package)


def make_program(entry: ModelEntry, exact: LoadedModel, options: GraphOptions) -> ONNXProgram:
    """Return the graph of a model. Raises BadRequest `export_opset` and EngineFault `export_untraceable`."""
    import torch

    from emotape.delivery.graph.eight_bits import quantize_weights
    from emotape.delivery.graph.trace import OPSETS, describe, trace
    from emotape.model.weights import load

    if options.opset not in OPSETS:
        raise BadRequest("export_opset", opset=options.opset, lowest=OPSETS[0], highest=OPSETS[-1])
    program = trace(load(entry.path, torch.float16) if options.dtype == "float16" else exact, options.opset)
    if options.dtype == "int8":
        quantize_weights(program.model)
    describe(program, exact, entry, options.dtype)
    return program


def _move(made: Path, output: Path) -> tuple[Path, ...]:
    """Give files their place, the weights before the graph that names them."""
    weights = [file for file in made.parent.iterdir() if file != made]
    for file in (*weights, made):
        file.replace(output.parent / file.name)
    return output, *(output.parent / file.name for file in weights)

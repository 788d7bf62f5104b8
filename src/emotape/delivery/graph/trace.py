"""The network of one clip becomes an ONNX graph of any length."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from emotape.audio.waveform import SAMPLE_RATE
from emotape.errors import EngineFault
from emotape.model.note import read_note
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.onnx import ONNXProgram

    from emotape.model.single import SingleClip
    from emotape.model.weights import LoadedModel
    from emotape.store.catalogue import ModelEntry

INPUT: Final = "samples"
OPSETS: Final = range(18, 24)
"""ONNX operator sets that torch writes. From 20 on there is an operator for GELU."""
_TRACED_SECONDS: Final = 3  # any length would do: the graph holds for all
_NORMALIZED: Final = "in the graph: layer norm over all samples, eps 1e-5, no affine"


def trace(model: LoadedModel, opset: int) -> ONNXProgram:
    """Return the graph from samples [n] to scores and embeddings. Raises EngineFault `export_untraceable`."""
    import torch

    from emotape.model.single import SingleClip

    single = SingleClip(model.encoder, model.labels).eval()
    with _quiet():
        try:
            program = _traced(single, torch.zeros(_TRACED_SECONDS * SAMPLE_RATE), opset)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise EngineFault("export_untraceable", reason=reason) from error
    _tidy(program, single)
    return program


def _traced(single: SingleClip, samples: object, opset: int) -> ONNXProgram:
    import torch

    # In two steps: left to itself, the ONNX exporter takes a graph of one length for good when the general one fails.
    exported = torch.export.export(single, (samples,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False)
    program = torch.onnx.export(
        exported, input_names=[INPUT], output_names=list(single.outputs), opset_version=opset, verbose=False
    )
    assert program is not None  # noqa: S101 - only the exporter of old returned nothing
    return program


def _tidy(program: ONNXProgram, single: SingleClip) -> None:
    """Leave out where in the source each node came from, and name what varies; the tracer's names are formulas."""
    import onnx_ir as ir

    graph, width = program.model.graph, single.encoder.dims
    made = [value for node in graph for value in node.outputs]
    for holder in (program.model, graph, *graph, *made, *graph.inputs, *graph.initializers.values()):
        holder.metadata_props.clear()
    graph.inputs[0].shape = ir.Shape([INPUT])
    for value in graph.outputs:
        if str(value.name).startswith("frame_"):
            value.shape = ir.Shape(["frames", width.classes if value.name == "frame_logits" else width.embed_dim])


def describe(program: ONNXProgram, model: LoadedModel, entry: ModelEntry, dtype: str) -> None:
    """Write into the graph what a program must know to use it, and what a person wants to know of it."""
    dims, noted, graph = model.dims, read_note(entry.path), program.model
    graph.producer_name, graph.producer_version = "emotape", __version__
    graph.metadata_props.update(
        {
            "model": entry.name,
            "digest": model.digest,
            "emotape": __version__,
            "license": str(noted.get("license", "see the model's own page")),
            "experimental": json.dumps(entry.experimental),
            "dtype": dtype,
            "sample_rate": str(SAMPLE_RATE),
            "normalization": _NORMALIZED if dims.normalize else "none",
            "stride": str(dims.stride),
            "field": str(dims.field),
            "labels": json.dumps([label.key if label else None for label in model.labels]),
            "labels_zh": json.dumps([label.zh if label else None for label in model.labels], ensure_ascii=False),
        }
    )
    if model.uncertain_below is not None:
        graph.metadata_props["uncertain_below"] = str(model.uncertain_below)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to the point: torch tells of packages that this network has no use for, and of its own changes to come."""
    told = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = told.level
    told.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        told.setLevel(level)

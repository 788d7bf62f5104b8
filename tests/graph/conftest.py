"""Graphs of four networks, each exported once: tracing is what takes the time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from emotape.delivery.cli import app
from emotape.delivery.graph.writing import GraphOptions, export_onnx, make_program
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model, resolve
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

    from emotape.delivery.graph.writing import Exported
    from emotape.model.weights import LoadedModel


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model in int8, the smallest of all files."""
    output = tmp_path_factory.mktemp("graphs") / "deep" / "bundled.onnx"
    export_onnx(bundled_model(), GraphOptions(output, "int8"))
    return output


@pytest.fixture(scope="session")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command says of an export of the golden large network in float32."""
    output = tmp_path_factory.mktemp("graphs") / "large.onnx"
    arguments = ["export", "onnx", "--model", str(GOLDEN / "large_like"), "--output", str(output), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@pytest.fixture(scope="session")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The golden base network, which has an unused label, in float16."""
    output = tmp_path_factory.mktemp("graphs") / "base.onnx"
    return export_onnx(resolve(GOLDEN / "base_like"), GraphOptions(output, "float16"))


@pytest.fixture(scope="session")
def headless() -> tuple[ONNXProgram, LoadedModel]:
    """The golden network without a head, in the oldest operator set: a graph that no file holds yet, and the model."""
    entry = resolve(GOLDEN / "embedding_only")
    model = load(entry.path)
    return make_program(entry, model, GraphOptions(Path("nowhere"), opset=18)), model

"""`emotape bench export` in small, on a graph that is there already. No time is judged."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from emotape.delivery.bench.export import DYNAMIC, ENGINE, ExportBenchOptions, compare, quantize_dynamically
from emotape.delivery.cli import app
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    import pytest


def test_graphs_are_compared_and_timed_in_turns_with_the_engine(
    said: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)  # ONNX Runtime advises a pass that this graph has no use for
    files = {"float32": Path(said["files"][0]), DYNAMIC: tmp_path / "dynamic.onnx"}
    quantize_dynamically(files["float32"], files[DYNAMIC])
    options = ExportBenchOptions(dtypes=tuple(files), seconds=(0.5,), runs=2, compared=3)
    found = compare(GOLDEN / "large_like", files, options, {"model": "golden"}, lambda _: None)
    strayed, times = found.tables
    exact, dynamic = (float(str(row["of an embedding, relative"])) for row in strayed.rows)
    assert exact < 1e-5 < dynamic
    assert [row["side"] for row in times.rows] == [ENGINE, "float32", DYNAMIC]
    assert all(len(sample["took"]) == options.runs for sample in found.samples)  # type: ignore[arg-type]
    assert "not export" in found.notes[0]


def test_a_graph_that_nobody_writes_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "export", "--dtype", "float8"])
    assert done.exit_code == 2
    assert "bench_unknown" in done.stderr

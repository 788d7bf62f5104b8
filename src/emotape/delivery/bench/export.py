"""`emotape bench export`: exported graphs on ONNX Runtime beside the engine: size, time, agreement."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from emotape.delivery.bench import speech
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject
from emotape.delivery.graph.writing import GraphDtype, GraphOptions, export_onnx
from emotape.engine.result import softmax
from emotape.engine.runner import Clip, TorchRunner
from emotape.errors import BadRequest
from emotape.store.catalogue import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from emotape.delivery.bench.report import Cell
    from emotape.delivery.graph.runner import GraphRunner
    from emotape.engine.runner import ClipScores, Runner

ENGINE: Final = "emotape float32"
DYNAMIC: Final = "dynamic"
"""ONNX Runtime's own quantisation, which makes activations 8 bits as well; emotape does not export it."""
DTYPES: Final = (*get_args(GraphDtype), DYNAMIC)


@dataclass(frozen=True)
class ExportBenchOptions:
    """Which graphs, which lengths of clips in seconds, how often, and how many clips are compared."""

    choice: Choice = field(default_factory=Choice)
    dtypes: tuple[str, ...] = DTYPES
    seconds: tuple[float, ...] = (3.0, 10.0, 30.0)
    runs: int = 7
    threads: int = 1
    compared: int = 100


def measure(options: ExportBenchOptions, tell: Callable[[str], None]) -> Findings:
    """Export in every arithmetic, compare on many clips, and time in turns with the engine.

    Raises BadRequest `bench_unknown` and what `export_onnx` raises.
    """
    for name in options.dtypes:
        if name not in DTYPES:
            raise BadRequest("bench_unknown", name=name, known=", ".join(DTYPES))
    with subject(options.choice, official=False) as model, TemporaryDirectory(prefix="emotape-bench-") as folder:
        files = {name: _written(model.directory, Path(folder), name, tell) for name in options.dtypes}
        return compare(model.directory, files, options, model.facts(), tell)


def compare(
    directory: Path,
    files: Mapping[str, Path],
    options: ExportBenchOptions,
    facts: Mapping[str, object],
    tell: Callable[[str], None],
) -> Findings:
    """Hold graphs of the model in `directory` to the engine, and time them in turns with it."""
    runners = _runners(directory, files, options.threads)
    tell(f"comparing on {options.compared} clips")
    strays = _strays(runners, options.compared)
    timed = {seconds: _timed(runners, seconds, options.runs, tell) for seconds in options.seconds}
    sizes = {name: path.stat().st_size / 1e6 for name, path in files.items()}
    asked = {name: value for name, value in vars(options).items() if name != "choice"}
    return _findings({**facts, **asked}, sizes, strays, timed)


def _written(directory: Path, folder: Path, dtype: str, tell: Callable[[str], None]) -> Path:
    output = folder / f"{dtype}.onnx"
    if output.exists():
        return output
    if dtype == DYNAMIC:
        quantize_dynamically(_written(directory, folder, "float32", tell), output)
    else:
        tell(f"exporting {dtype}")
        export_onnx(resolve(directory), GraphOptions(output, dtype))  # type: ignore[arg-type]
    return output


def quantize_dynamically(exact: Path, output: Path) -> None:
    """Write what ONNX Runtime's own quantisation, with a scale for each output, makes of a graph."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-untyped]

    graph = onnx.load(exact)
    del graph.graph.value_info[:]  # shapes of weights that it transposes without telling
    quantize_dynamic(
        graph, output, op_types_to_quantize=["Gemm", "MatMul"], per_channel=True, weight_type=QuantType.QInt8
    )


def _runners(directory: Path, files: Mapping[str, Path], threads: int) -> dict[str, Runner]:
    from emotape.delivery.graph.runner import GraphRunner
    from emotape.model.weights import load

    model = load(directory)
    graphs: dict[str, GraphRunner] = {name: GraphRunner(path, model.dims, threads) for name, path in files.items()}
    return {ENGINE: TorchRunner(model, arithmetic="float32", threads=threads), **graphs}


@dataclass(frozen=True)
class _Stray:
    """How far a graph was from the engine over all clips."""

    labels: int
    score: float
    embedding: float


def _strays(runners: Mapping[str, Runner], count: int) -> dict[str, _Stray]:
    clips = [Clip(clip) for clip in speech.mixed_clips(count, longest=8.0)]
    wanted = [runners[ENGINE].run([clip])[0] for clip in clips]
    return {
        name: _stray([runner.run([clip])[0] for clip in clips], wanted)
        for name, runner in runners.items()
        if name != ENGINE
    }


def _stray(found: Sequence[ClipScores], wanted: Sequence[ClipScores]) -> _Stray:
    embeddings = [
        float(np.linalg.norm(ours.embedding - theirs.embedding) / np.linalg.norm(theirs.embedding))
        for ours, theirs in zip(found, wanted, strict=True)
    ]
    logits = [
        (ours.logits, theirs.logits)
        for ours, theirs in zip(found, wanted, strict=True)
        if ours.logits is not None and theirs.logits is not None
    ]
    scores = [float(np.abs(softmax(ours) - softmax(theirs)).max()) for ours, theirs in logits]
    other = sum(bool(ours.argmax() != theirs.argmax()) for ours, theirs in logits)
    return _Stray(other, max(scores, default=0.0), max(embeddings))


def _timed(
    runners: Mapping[str, Runner], seconds: float, runs: int, tell: Callable[[str], None]
) -> dict[str, Timed[Any]]:
    tell(f"{seconds:g} s: {', '.join(runners)}")

    def work(runner: Runner, number: int) -> None:
        runner.run([Clip(speech.clip(seconds, number))])

    sides = [
        Side(name, lambda number, runner=runner: work(runner, number))  # type: ignore[misc]
        for name, runner in runners.items()
    ]
    return interleaved(sides, runs)


def _findings(
    settings: Mapping[str, object],
    sizes: Mapping[str, float],
    strays: Mapping[str, _Stray],
    timed: Mapping[float, Mapping[str, Timed[Any]]],
) -> Findings:
    files = tuple(_row(name, sizes[name], stray) for name, stray in strays.items())
    times = tuple(_time_row(name, timed) for name in (ENGINE, *sizes))
    compared = f"Files, and how far they stray from the engine on {settings['compared']} clips"
    title = f"Milliseconds for a clip, {settings['threads']} threads; in brackets the range of all rounds"
    bars = tuple(
        Bar(f"{seconds:g} s", name, spread([1000 * taken for taken in one.seconds]))
        for seconds, sides in timed.items()
        for name, one in sides.items()
    )
    samples = tuple(
        {"seconds": seconds, "side": name, "took": one.seconds, "processor": one.processor}
        for seconds, sides in timed.items()
        for name, one in sides.items()
    )
    chart = Chart(f"Exported graphs: {settings['model']}", "milliseconds", bars)
    return Findings("export", settings, (Table(compared, files), Table(title, times)), (chart,), samples, _notes(sizes))


def _row(name: str, size: float, stray: _Stray) -> dict[str, Cell]:
    return {
        "graph": name,
        "MB": size,
        "other labels": stray.labels,
        "worst difference of a score": f"{stray.score:.1e}",
        "of an embedding, relative": f"{stray.embedding:.1e}",
    }


def _time_row(name: str, timed: Mapping[float, Mapping[str, Timed[Any]]]) -> dict[str, Cell]:
    row: dict[str, Cell] = {"side": name}
    for seconds, sides in timed.items():
        row[f"{seconds:g} s"] = spread([1000 * taken for taken in sides[name].seconds])
        row[f"× engine, {seconds:g} s"] = times_faster(sides[ENGINE].seconds, sides[name].seconds)
    return row


def _notes(sizes: Mapping[str, float]) -> tuple[str, ...]:
    if DYNAMIC not in sizes:
        return ()
    return (f"{DYNAMIC} is ONNX Runtime's own quantisation of weights and activations; emotape does not export it.",)

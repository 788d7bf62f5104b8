"""Does a written graph say what the engine says? Judged on recorded speech, at several lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.bench import speech
from emotape.delivery.graph.runner import GraphRunner
from emotape.engine.parity import compare
from emotape.engine.runner import Clip, TorchRunner
from emotape.errors import EngineFault

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.engine.runner import ClipScores
    from emotape.model.weights import LoadedModel

BOUNDS: Final = {"float32": 1e-4, "float16": 1e-2, "int8": 1e-1}
"""How far logits and embeddings may stray, relative to the largest value of an output or to 1."""
_SCORES: Final = {"float32": 1e-4, "float16": 1e-2, "int8": 3e-2}
_SECONDS: Final = (0.5, 1.7, 4.0)


@dataclass(frozen=True)
class Agreement:
    """How far a graph strays from the engine in float32.

    outputs      largest difference of a logit or an embedding's value, relative to the largest one or to 1
    scores       largest difference of a probability (of an embedding's length for a model without classifier)
    same_labels  whether every label is the same, near ties left out
    """

    outputs: float
    scores: float
    same_labels: bool

    def within(self, dtype: str) -> bool:
        """Whether a graph of that arithmetic may be given away."""
        return self.same_labels and self.outputs <= BOUNDS[dtype] and self.scores <= _SCORES[dtype]


def check(path: Path, exact: LoadedModel, dtype: str) -> Agreement:
    """Hold a graph to `exact`, in float32, on the recordings of the package.

    Raises EngineFault: `export_unusable` when ONNX or ONNX Runtime refuse it, `export_disagrees` beyond the bounds.
    """
    import onnx

    try:
        onnx.checker.check_model(path)
        agreement = _agreement(GraphRunner(path, exact.dims), TorchRunner(exact))
    except Exception as error:
        # ONNX Runtime's exceptions have no root of their own.
        raise EngineFault(
            "export_unusable", reason=(str(error).strip() or type(error).__name__).splitlines()[0]
        ) from error
    if not agreement.within(dtype):
        bounds = {"bound": BOUNDS[dtype], "score_bound": _SCORES[dtype]}
        raise EngineFault("export_disagrees", dtype=dtype, apart=agreement.outputs, scores=agreement.scores, **bounds)
    return agreement


def _agreement(graph: GraphRunner, engine: TorchRunner) -> Agreement:
    clips = [Clip(speech.clip(seconds, number), frame_embeddings=True) for number, seconds in enumerate(_SECONDS)]
    pairs = zip(graph.run(clips), engine.run(clips), strict=True)
    verdict = compare(graph, engine)
    return Agreement(max(apart(found, wanted) for found, wanted in pairs), verdict.worst, verdict.same_labels)


def apart(found: ClipScores, wanted: ClipScores) -> float:
    """Return the largest difference of any output, relative to the largest value of that output or to 1."""
    names = ("logits", "frame_logits", "embedding", "frame_embeddings")
    return max(
        _relative(getattr(found, name), getattr(wanted, name)) for name in names if getattr(wanted, name) is not None
    )


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))

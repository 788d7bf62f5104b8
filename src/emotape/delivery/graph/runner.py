"""A graph on ONNX Runtime, seen as what it replaces: a runner of clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emotape.delivery.graph.trace import INPUT
from emotape.engine.runner import ClipScores

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.engine.runner import Clip
    from emotape.model.dims import Dims


class GraphRunner:
    """Runs clips one by one on the processor."""

    device = "cpu"

    def __init__(self, path: Path, dims: Dims, threads: int | None = None) -> None:
        """Load a graph; `threads` None leaves it to ONNX Runtime. What goes wrong is ONNX Runtime's own exception."""
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings are about nodes it would like to be other
        options.intra_op_num_threads = threads or 0
        self.dims = dims
        self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    @property
    def metadata(self) -> dict[str, str]:
        """What the graph says of itself."""
        said: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return said

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Run clips; one answer per clip, in order."""
        return [self._scores(clip) for clip in clips]

    def _scores(self, clip: Clip) -> ClipScores:
        values = self._session.run(None, {INPUT: np.ascontiguousarray(clip.waveform.samples)})
        found = dict(zip(self.outputs, values, strict=True))
        frames = found["frame_embeddings"] if clip.frame_embeddings else None
        return ClipScores(found["embedding"], found.get("logits"), found.get("frame_logits"), frames)

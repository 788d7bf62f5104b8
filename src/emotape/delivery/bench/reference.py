"""The reference implementation, as its users run it: the `funasr` package, which is no part of emotape."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from emotape.errors import BadRequest
from emotape.model.labels import label_of_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform


@dataclass(frozen=True, eq=False)
class Heard:
    """What either implementation says of a clip: embedding [D] and the key of the best label."""

    embedding: NDArray[np.float32]
    emotion: str | None


class Reference:
    """FunASR's own model on the CPU in float32, built and loaded by its own AutoModel from an official directory."""

    def __init__(self, official: Path, threads: int) -> None:
        require("funasr")
        with quiet():
            from funasr import AutoModel

            self._auto: Any = AutoModel(
                model=str(official),
                device="cpu",
                ncpu=threads,
                disable_update=True,
                disable_pbar=True,
                log_level="ERROR",
            )

    def hear(self, waveform: Waveform) -> Heard:
        """Run `Emotion2vec.inference` on one clip, without what AutoModel does around it."""
        import torch

        with torch.no_grad():
            results, _ = self._auto.model.inference(
                [torch.from_numpy(np.array(waveform.samples))],
                key=["clip"],
                tokenizer=self._auto.kwargs["tokenizer"],
                device="cpu",
                granularity="utterance",
                extract_embedding=True,
                data_type="sound",
            )
        return Heard(results[0]["feats"], _emotion(results[0]))

    def generate(self, path: Path) -> str | None:
        """Return the emotion of a file, by all of FunASR's own means."""
        with quiet():
            results = self._auto.generate(str(path), granularity="utterance", extract_embedding=True)
        return _emotion(results[0])


def require(package: str) -> None:
    """Raise BadRequest `bench_peer_missing` unless a package that emotape is compared with is here."""
    if not installed(package):
        raise BadRequest("bench_peer_missing", package=package)


def installed(package: str) -> bool:
    """Return whether a package can be imported."""
    try:
        return find_spec(package) is not None
    except ValueError:  # an entry of sys.modules without a spec
        return False


@contextmanager
def quiet() -> Iterator[None]:
    """Keep another package's greetings, warnings and log lines out of the results."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def relative_error(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Return the length of the difference of two embeddings, relative to the wanted one's."""
    return float(np.linalg.norm(found.astype(np.float64) - wanted) / np.linalg.norm(wanted.astype(np.float64)))


def _emotion(result: dict[str, Any]) -> str | None:
    if not result["scores"]:
        return None
    label = label_of_token(result["labels"][int(np.argmax(result["scores"]))])
    return label.key if label else None

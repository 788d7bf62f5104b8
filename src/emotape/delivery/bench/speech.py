"""Speech for benchmarks: the samples that come with the package, one after another, as long as it takes."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.audio.decode import decode
from emotape.audio.waveform import SAMPLE_RATE, Waveform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_STEP: Final = 24_321  # samples between the beginnings of two clips; no multiple of a sample's length


def clip(seconds: float, number: int = 0) -> Waveform:
    """Return `seconds` of speech; another `number` begins at another place, the same one gives the same clip."""
    speech = _all_speech()
    indices = (number * _STEP + np.arange(round(seconds * SAMPLE_RATE))) % len(speech)
    return Waveform(speech[indices])


def mixed_clips(count: int, shortest: float = 1.0, longest: float = 15.0) -> Iterator[Waveform]:
    """Yield clips of mixed lengths in seconds, more of them short than long; always the same ones."""
    random = np.random.default_rng(11)
    for number in range(count):
        yield clip(shortest * (longest / shortest) ** random.random(), number)


@cache
def _all_speech() -> NDArray[np.float32]:
    folder = resources.files("emotape") / "samples"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".opus")), key=lambda file: file.name)
    return np.concatenate([decode(file.read_bytes()).waveforms[0].samples for file in files])

"""The value that everything downstream works on: mono float32 samples at 16 kHz."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000  # Hz, what the network was trained on


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono float32 samples at 16 kHz, finite and read-only.

    `samples` has shape [n]; nominal full scale is ±1. Whoever makes a Waveform gives the array away.
    """

    samples: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.samples.dtype != np.float32 or self.samples.ndim != 1:
            raise TypeError(f"a waveform is float32 [n], not {self.samples.dtype} {self.samples.shape}")
        self.samples.flags.writeable = False

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE

    def part(self, start: int, stop: int) -> Waveform:
        """Return samples `start` to `stop` as a view."""
        return Waveform(self.samples[start:stop])

    def digest(self) -> str:
        """Return the SHA-256 of the samples: equal content, equal digest, whatever the file format."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.samples).data).hexdigest()

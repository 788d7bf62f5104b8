"""Is the sound usable? Silence, clipping, level and the share of speech."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.audio.speech import SPEECH
from emotape.audio.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform

FLOOR_DBFS: Final = -120.0  # the level that stands for "nothing at all"
SILENT_DBFS: Final = -65.0  # a recording below this holds the noise of its converter
QUIET_DBFS: Final = -45.0  # speech is usually recorded between -30 and -15
CLIPPED: Final = 0.999  # of full scale; two samples in a row up there are a cut-off peak
CLIPPED_SHARE: Final = 0.001
LITTLE_SPEECH: Final = 0.1
_AT_ONCE: Final = 1 << 20  # samples; masks of all of a long recording would take most of its memory once more
_BLOCK: Final = SAMPLE_RATE // 50  # 20 ms, over which the level of silence is measured


@dataclass(frozen=True)
class Quality:
    """How usable the sound is. Levels are dBFS; shares are 0 to 1."""

    rms_dbfs: float
    peak_dbfs: float
    clipped_share: float
    silent_share: float
    speech_share: float
    warnings: tuple[str, ...] = ()


def assess(waveform: Waveform, speech: NDArray[np.float32] | None = None) -> Quality:
    """Measure the sound of `waveform`, of which `speech` holds the probability of speech for each 32 ms.

    Without a speech curve the share of speech counts as 1. A silent share is that of the 20 ms blocks below -65 dBFS.
    """
    powers = _block_powers(waveform.samples)
    rms = _decibels(float(powers.mean()) if len(powers) else 0.0)
    # Two passes instead of one over a copy: the copy would double the memory of a long recording.
    peak = max(float(waveform.samples.max()), -float(waveform.samples.min())) if len(waveform) else 0.0
    clipped = _clipped_share(waveform.samples) if peak >= CLIPPED else 0.0
    silent = float(np.mean(powers < 10 ** (SILENT_DBFS / 10))) if len(powers) else 1.0
    spoken = float(np.mean(speech >= SPEECH)) if speech is not None and len(speech) else 1.0
    warnings = _warnings(rms, clipped, spoken)
    return Quality(rms, _decibels(peak * peak), clipped, silent, spoken, warnings)


def _warnings(rms: float, clipped: float, spoken: float) -> tuple[str, ...]:
    found = {
        "silent": rms < SILENT_DBFS,
        "quiet": SILENT_DBFS <= rms < QUIET_DBFS,
        "clipped": clipped > CLIPPED_SHARE,
        "little_speech": spoken < LITTLE_SPEECH,
    }
    return tuple(code for code, holds in found.items() if holds)


def _block_powers(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean square of each 20 ms, [ceil(n / 320)]; the last block may be shorter."""
    starts = np.arange(0, len(samples), _BLOCK)
    if not len(starts):
        return np.zeros(0)
    lengths = np.diff(np.append(starts, len(samples)))
    whole = len(samples) // _BLOCK * _BLOCK
    blocks = samples[:whole].reshape(-1, _BLOCK)
    sums = np.einsum("bi,bi->b", blocks, blocks, dtype=np.float64)
    rest = samples[whole:].astype(np.float64)
    sums = np.append(sums, rest @ rest) if len(rest) else sums
    return np.asarray(sums / lengths)


def _clipped_share(samples: NDArray[np.float32]) -> float:
    """Return the share of samples at full scale that stand beside another one there."""
    together = 0
    for start in range(0, len(samples), _AT_ONCE):
        part = samples[start : start + _AT_ONCE + 1]  # and the first of the next
        high = (part >= CLIPPED) | (part <= -CLIPPED)
        together += int(np.count_nonzero(high[1:] & high[:-1]))
    return together / max(len(samples), 1)


def _decibels(power: float) -> float:
    return max(10 * math.log10(power), FLOOR_DBFS) if power > 0 else FLOOR_DBFS

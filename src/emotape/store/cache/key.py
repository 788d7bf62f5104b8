"""What decides a result, as one digest: sound, weights, arithmetic, version, and the options that change the numbers.

An option that plays no part in an answer plays none in its key: how segments are made for an answer without segments,
how long recordings are cut for one that is not cut. Nor do limits, deadlines, or the file that the sound was in.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from emotape.audio.waveform import SAMPLE_RATE
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.audio.waveform import Waveform
    from emotape.audio.window import WindowOptions
    from emotape.engine.segments import SegmentOptions
    from emotape.engine.wanted import Wanted


@dataclass(frozen=True)
class Sound:
    """The decoded waveforms of a recording without their samples: the SHA-256 of each, and how many samples it has."""

    digests: tuple[str, ...]
    samples: tuple[int, ...]

    @classmethod
    def of(cls, waveforms: Sequence[Waveform]) -> Self:
        """Read every sample once; 30 s take about a millisecond."""
        return cls(tuple(waveform.digest() for waveform in waveforms), tuple(len(waveform) for waveform in waveforms))


@dataclass(frozen=True)
class Network:
    """What calculates: the digest of weights and labels, the arithmetic, and emotape's version."""

    digest: str
    arithmetic: str
    version: str = __version__


def cache_key(sound: Sound, wanted: Wanted, network: Network, window: WindowOptions, segment: SegmentOptions) -> str:
    """Return 64 hexadecimal digits that are equal exactly when the predictions of two requests are."""
    is_cut = any(samples > int(window.longest * SAMPLE_RATE) for samples in sound.samples)
    fields = {
        "sound": sound.digests,
        "wanted": asdict(wanted),
        "network": asdict(network),
        "window": asdict(window) if is_cut else None,
        "segment": asdict(segment) if wanted.granularity == "segment" else None,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

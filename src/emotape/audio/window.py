"""A long recording becomes spans that the network can take, cut where nobody speaks; pure arithmetic.

The network counts one frame for every 320 samples and looks at 400. So spans begin at multiples of 320, and each but
the last goes on 80 samples into the next: then the frames of the spans, one after the other, are exactly the frames of
the whole recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.audio.speech import CHUNK, runs, speech_probabilities, speech_seconds
from emotape.audio.waveform import SAMPLE_RATE
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Span", "WindowOptions", "frame_count", "speech_probabilities", "speech_seconds", "split_at_pauses"]

STRIDE: Final = 320  # samples from one frame to the next
FIELD: Final = 400  # samples that one frame looks at
OVERLAP: Final = FIELD - STRIDE
_LEAST_LONGEST: Final = 1.0  # seconds


@dataclass(frozen=True)
class WindowOptions:
    """How to cut: spans of at most `longest` seconds; less speech than `pause` (a probability) is a pause."""

    longest: float = 30.0
    pause: float = 0.35

    def __post_init__(self) -> None:
        if not (self.longest >= _LEAST_LONGEST):
            raise BadRequest("bad_window", longest=self.longest, least=_LEAST_LONGEST)


@dataclass(frozen=True)
class Span:
    """Samples `start` to `stop` of a recording at 16 kHz."""

    start: int
    stop: int

    @property
    def frames(self) -> int:
        """The number of frames that the network makes of it."""
        return frame_count(self.stop - self.start)


def frame_count(samples: int) -> int:
    """Return how many frames (50 Hz) the network makes of `samples` at 16 kHz."""
    return max((samples - FIELD) // STRIDE + 1, 0)


def split_at_pauses(
    samples: int, speech: NDArray[np.float32] | None, options: WindowOptions | None = None
) -> tuple[Span, ...]:
    """Cut a recording of `samples` into spans that together hold all its frames, each once.

    A cut lies in the middle of the longest pause of the last half of what a span may hold; where there is none, at
    the place with the least speech; without a speech curve, as late as possible. No span is shorter than a quarter of
    the longest. A recording that fits in one span stays whole: (0, samples).
    """
    options = options or WindowOptions()
    longest = int(options.longest * SAMPLE_RATE)
    shortest = longest // 4
    spans, start = [], 0
    while samples - start > longest:
        earliest = start + longest // 2
        latest = min(start + longest - OVERLAP, samples - shortest)
        cut = _cut(earliest // STRIDE + 1, latest // STRIDE, speech, options.pause)
        spans.append(Span(start, cut + OVERLAP))
        start = cut
    return (*spans, Span(start, samples))


def _cut(first: int, last: int, speech: NDArray[np.float32] | None, pause: float) -> int:
    """Return the best cut, in samples, among the multiples `first` to `last` of the stride."""
    if speech is None or len(speech) == 0:
        return last * STRIDE
    places = np.arange(first, last + 1) * STRIDE
    chunks = places // CHUNK
    level = np.where(chunks < len(speech), speech[np.minimum(chunks, len(speech) - 1)], 0.0)
    pauses = runs(level < pause)
    if pauses:
        begin, end = max(pauses, key=lambda run: (run[1] - run[0], run[0]))
        return int(places[(begin + end) // 2])
    return int(places[np.argmin(level)])

"""What the first request of a service would pay for, done before it comes."""

from __future__ import annotations

from importlib import resources
from typing import Final

_RUNS: Final = 2  # torch optimises the network that hears speech when it runs for the second time


def rehearse() -> None:
    """Decode a built-in recording and find the speech in it, whose libraries and network load when they are first used.

    The emotion network needs no rehearsal: it is warm once a recognizer is open.
    """
    from emotape.audio.decode import decode
    from emotape.audio.speech import speech_probabilities

    sample = resources.files("emotape") / "samples" / "angry.opus"
    (waveform,) = decode(sample.read_bytes()).waveforms
    for _ in range(_RUNS):
        speech_probabilities(waveform)

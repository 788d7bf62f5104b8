"""The speech curve is Silero's own, only faster."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from emotape import Waveform, decode
from emotape.audio.speech import CHUNK, speech_probabilities
from tests.conftest import AUDIO


def test_the_curve_is_what_the_package_says_chunk_by_chunk() -> None:
    """Features for many chunks at once and one pass of the recurrence give the package's probabilities."""
    from silero_vad import load_silero_vad

    once = decode(AUDIO / "jfk.flac").waveforms[0].samples
    waveform = Waveform(np.concatenate([once] * 12 + [once[:777]]))  # more chunks than are taken at once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        network = load_silero_vad()
    network.reset_states()
    chunks = -(-len(waveform) // CHUNK)
    padded = torch.zeros(chunks * CHUNK)
    padded[: len(waveform)] = torch.tensor(waveform.samples)
    with torch.inference_mode():
        wanted = [float(network(chunk[None], 16_000)) for chunk in padded.view(chunks, CHUNK)]
    assert chunks > 1_024
    np.testing.assert_allclose(speech_probabilities(waveform), wanted, atol=1e-4)


def test_calls_do_not_remember_each_other() -> None:
    """The same recording gives the same curve, whatever was heard before."""
    waveform = decode(AUDIO / "jfk.flac").waveforms[0]
    first = speech_probabilities(waveform)
    speech_probabilities(Waveform(np.ones(40_000, np.float32)))
    np.testing.assert_array_equal(speech_probabilities(waveform), first)

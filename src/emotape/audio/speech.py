"""Where somebody speaks: Silero's voice-activity network, and what follows from its curve.

A speech curve holds one probability for every 512 samples (32 ms) of a waveform.
"""

from __future__ import annotations

import warnings
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.audio.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform
    from emotape.audio.window import Span

CHUNK: Final = 512  # samples for each probability, what Silero was trained on at 16 kHz
SPEECH: Final = 0.5  # probability from which a chunk counts as speech
_CONTEXT: Final = 64  # samples before a chunk that Silero hears with it
_CHUNKS_AT_ONCE: Final = 1024  # 33 s; bounds the memory of the features
_HYSTERESIS: Final = 0.15  # speech goes on until the probability falls this far below the threshold
_SHORTEST_PAUSE: Final = 10  # frames (0.2 s); less is a stop consonant, not silence
_STRIDE, _FIELD = 320, 400  # samples; how the network counts frames
_LOADING: Final = Lock()


def speech_probabilities(waveform: Waveform) -> NDArray[np.float32]:
    """Return the probability of speech, float32 [ceil(n / 512)], for each 32 ms of `waveform`.

    The last chunk is filled up with silence. Silero hears chunk after chunk, but only its recurrent part needs the one
    before: its features are made for many chunks at once, which gives the same curve many times faster.
    """
    import torch

    network, recurrence = _silero()
    probabilities = []
    state = None
    with torch.inference_mode():
        for chunks in _chunks(waveform.samples):
            features = network.encoder(network.run_extractors(torch.from_numpy(chunks))).squeeze(-1)
            hidden, state = recurrence(features, state)
            probabilities.append(network.decoder.decoder(hidden[:, :, None]).flatten())
    curve: NDArray[np.float32] = torch.cat(probabilities).numpy()
    return curve


def _silero() -> tuple[Any, torch.nn.LSTM]:
    """Load Silero's network once, also when several threads ask first: the filters of warnings are everybody's."""
    with _LOADING:
        return _loaded()


@cache
def _loaded() -> tuple[Any, torch.nn.LSTM]:
    """Return Silero's network for 16 kHz and its recurrent cell as a layer that takes a whole sequence."""
    import torch
    from silero_vad import load_silero_vad

    with warnings.catch_warnings():
        # The package ships its network in a format that torch means to retire.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        network = load_silero_vad()._model  # noqa: SLF001 - the package offers no other way to its parts
    cell = network.decoder.rnn
    layer = torch.nn.LSTM(cell.weight_ih.shape[1], cell.weight_hh.shape[1])
    state = {f"{name}_l0": getattr(cell, name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    layer.load_state_dict(state)
    return network, layer.requires_grad_(requires_grad=False)


def _chunks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Give the chunks [n, 64 + 512], some at a time; Silero wants the end of the chunk before each as context."""
    step = _CHUNKS_AT_ONCE * CHUNK
    for start in range(0, len(samples), step):
        part = samples[max(0, start - _CONTEXT) : start + step]
        before = _CONTEXT - min(start, _CONTEXT)
        count = -(-(len(part) + before - _CONTEXT) // CHUNK)
        padded = np.zeros(_CONTEXT + count * CHUNK, np.float32)
        np.clip(part, -1.0, 1.0, out=padded[before : before + len(part)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + CHUNK)[::CHUNK]
        yield np.ascontiguousarray(windows)


def speech_seconds(span: Span, speech: NDArray[np.float32], threshold: float = SPEECH) -> float:
    """Return how many seconds of `span` are speech."""
    edges = np.arange(len(speech) + 1) * CHUNK
    inside = np.diff(np.clip(edges, span.start, span.stop))
    return float(inside[speech >= threshold].sum()) / SAMPLE_RATE


def frame_is_speech(frames: int, speech: NDArray[np.float32], threshold: float = SPEECH) -> NDArray[np.bool_]:
    """Say for each of `frames` frames (50 Hz) whether somebody speaks, bool [frames].

    A frame takes the probability at its centre. Speech begins at `threshold` and goes on until the probability has
    fallen well below; pauses shorter than 0.2 s between speech count as speech.
    """
    if len(speech) == 0 or frames == 0:
        return np.zeros(frames, np.bool_)
    centres = np.arange(frames) * _STRIDE + _FIELD // 2
    level = speech[np.minimum(centres // CHUNK, len(speech) - 1)]
    return _without_short_pauses(_hysteresis(level, threshold))


def _hysteresis(level: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    begins, ends = level >= threshold, level < threshold - _HYSTERESIS
    decided = np.where(begins | ends, np.arange(len(level)), -1)
    latest = np.maximum.accumulate(decided)
    return np.asarray((latest >= 0) & begins[np.maximum(latest, 0)])


def _without_short_pauses(spoken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    filled = spoken.copy()
    for start, stop in runs(~spoken):
        if stop - start < _SHORTEST_PAUSE and start > 0 and stop < len(spoken):
            filled[start:stop] = True
    return filled


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, stop) of every stretch of True in a mask [n]."""
    edges: NDArray[Any] = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False]))))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]

"""The frozen teacher: Whisper's encoder, what it hears in every clip, and the soft labels fitted on that.

Weights come as safetensors with names ``encoder/…`` (log-mel 80 bands → two convolutions → pre-norm blocks).
Clips are heard at their own length instead of Whisper's padded 30 s; the sinusoidal positions allow it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from training.augment import degrade, pad
from training.corpora import SAMPLE_RATE, Corpora, by_length

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH = 512
HEADS = 8
HOP = 320  # samples between the teacher's frames: two mel frames of 10 ms
MIDDLE = 3  # index of the block whose frames the student imitates (the fourth of six)
POOLED = 4 * WIDTH  # last layer's mean and std, then the middle block's mean and std

Floats = npt.NDArray[np.float32]


def mel_filters(bands: int = 80, window: int = 400) -> Tensor:
    """Return Slaney's triangular mel filters as Whisper uses them, [bands, window // 2 + 1]."""
    hertz = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1, dtype=torch.float64)
    knee, step = 15.0, math.log(6.4) / 27  # linear below 1 kHz (mel 15), logarithmic above
    top = knee + math.log(SAMPLE_RATE / 2 / 1000) / step
    mels = torch.linspace(0, top, bands + 2, dtype=torch.float64)
    points = torch.where(mels >= knee, 1000 * torch.exp(step * (mels - knee)), mels * 200 / 3)
    widths = points.diff()
    ramps = points[:, None] - hertz[None]
    rising, falling = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return (triangles * (2 / (points[2:] - points[:-2]))[:, None]).float()


class WhisperEncoder:
    """Functional, inference only. ``hear`` maps waves [B, T] to frames of two depths."""

    def __init__(self, weights: Path) -> None:
        state = load_file(weights)
        self._state = {name.removeprefix("encoder/"): value.float() for name, value in state.items()}
        self._depth = sum(name.endswith("ffn/linear_0/weight") for name in self._state)
        self._mel = mel_filters()
        self._window = torch.hann_window(400)

    def hear(self, waves: Tensor, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hear waves [B, T] of unit variance, zero padded → (middle [B, F, 512], last [B, F, 512], frames [B])."""
        x = F.gelu(self._convolve("conv1", self._log_mel(waves), 1))
        x = F.gelu(self._convolve("conv2", x, 2)).transpose(1, 2)  # [B, F, 512]
        x = x + self._state["position_encodings/encodings"][: x.shape[1]]
        frames = torch.div(samples + HOP - 1, HOP, rounding_mode="floor").clamp(max=x.shape[1])
        padding = torch.arange(x.shape[1])[None] >= frames[:, None]
        bias = torch.where(padding, -1e4, 0.0)[:, None, None, :]
        middle = x
        for index in range(self._depth):
            x = self._block(index, x, bias)
            middle = x if index == MIDDLE else middle
        return middle.float(), self._norm("layer_norm", x).float(), frames

    def _log_mel(self, waves: Tensor) -> Tensor:
        # 0.1: speech at about -20 dBFS, the level Whisper saw in training
        spectrum = torch.stft(waves * 0.1, 400, 160, window=self._window, return_complex=True)
        power = self._mel @ spectrum[..., :-1].abs().square()
        log = power.clamp_min(1e-10).log10()
        return (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def _convolve(self, name: str, x: Tensor, stride: int) -> Tensor:
        return F.conv1d(x, self._state[f"{name}/weight"], self._state[f"{name}/bias"], stride, 1)

    def _block(self, index: int, x: Tensor, bias: Tensor) -> Tensor:
        layer = f"layer_{index}/"
        normed = self._norm(f"{layer}self_attention/layer_norm", x)
        parts = self._linear(f"{layer}self_attention/linear_0", normed).chunk(3, -1)
        query, key, value = (part.reshape(*part.shape[:2], HEADS, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        mixed = mixed.transpose(1, 2).flatten(2)
        x = x + self._linear(f"{layer}self_attention/linear_1", mixed)
        hidden = F.gelu(self._linear(f"{layer}ffn/linear_0", self._norm(f"{layer}ffn/layer_norm", x)))
        return x + self._linear(f"{layer}ffn/linear_1", hidden)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,), self._state[f"{name}/gamma"], self._state[f"{name}/beta"])

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._state[f"{name}/weight"], self._state[f"{name}/bias"])


@dataclass(frozen=True)
class Lessons:
    """What the teacher heard: pooled features of every clip, and frames of the training clips."""

    pooled: Floats  # [clips, POOLED]; rows of clips it was not asked about are NaN
    spans: npt.NDArray[np.int64]  # [clips, 2] first frame and number of frames; 0 frames: none stored
    frames: npt.NDArray[np.float16]  # [all frames, WIDTH], the middle block, layer-normalised


def teach(corpora: Corpora, weights: Path, work: Path, split: str) -> None:
    """Write what the teacher hears in a split (``train`` with frames) to ``work/teacher-SPLIT*``."""
    encoder = WhisperEncoder(weights)
    keep_frames = split == "train"
    pooled = np.full((len(corpora.clips), POOLED), np.nan, np.float32)
    spans = np.zeros((len(corpora.clips), 2), np.int64)
    written = 0
    with (work / f"teacher-{split}.f16").open("wb") as store, torch.inference_mode():
        for batch in by_length(corpora.clips, corpora.select(split), seconds=40):
            middle, last, frames = _hear(encoder, corpora, batch, "clean")
            pooled[batch] = _pool(middle, last, frames)
            if keep_frames:
                for index, count in zip(batch, _store_frames(store, middle, frames), strict=True):
                    spans[index] = (written, count)
                    written += count
    np.savez(work / f"teacher-{split}.npz", pooled=pooled, spans=spans)


def pooled_features(corpora: Corpora, encoder: WhisperEncoder, indices: Sequence[int], condition: str) -> Floats:
    """Return the teacher's pooled features [len(indices), POOLED] under a test condition."""
    rows = np.zeros((len(indices), POOLED), np.float32)
    place = {index: row for row, index in enumerate(indices)}
    with torch.inference_mode():
        for batch in by_length(corpora.clips, indices, seconds=40):
            rows[[place[index] for index in batch]] = _pool(*_hear(encoder, corpora, batch, condition))
    return rows


def load_lessons(work: Path, split: str) -> Lessons:
    """Read what ``teach`` wrote."""
    stored = np.load(work / f"teacher-{split}.npz")
    path = work / f"teacher-{split}.f16"
    flat = np.memmap(path, np.float16, "r") if path.stat().st_size else np.zeros(0, np.float16)
    return Lessons(stored["pooled"], stored["spans"], flat.reshape(-1, WIDTH))


def _hear(encoder: WhisperEncoder, corpora: Corpora, batch: list[int], condition: str) -> tuple[Tensor, Tensor, Tensor]:
    waves, samples = pad([corpora.wave(index) for index in batch])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return encoder.hear(degrade(waves, samples, condition), samples)


def _pool(middle: Tensor, last: Tensor, frames: Tensor) -> Floats:
    """Take mean and standard deviation over each clip's frames, [B, POOLED]."""
    valid = (torch.arange(last.shape[1])[None] < frames[:, None])[..., None]
    count = frames[:, None].float()
    parts = []
    for layer in (last, middle):
        mean = (layer * valid).sum(1) / count
        variance = ((layer - mean[:, None]).square() * valid).sum(1) / count
        parts += [mean, (variance + 1e-6).sqrt()]
    return torch.cat(parts, 1).numpy()


def _store_frames(store: BinaryIO, middle: Tensor, frames: Tensor) -> list[int]:
    """Append each clip's frames, layer-normalised; returns how many each clip has."""
    counts = [int(count) for count in frames]
    for clip, count in zip(F.layer_norm(middle, (WIDTH,)).half().numpy(), counts, strict=True):
        store.write(clip[:count].tobytes())
    return counts

"""The student: the emotion2vec network (data2vec 2.0's audio encoder) at a small size, written to be trained.

Its state dict carries FunASR's names, so a trained student is a model directory as it stands. Clips of a batch are
zero padded; frames outside a clip are zeroed before every positional convolution and hidden from attention, which
makes a batched clip equal to the clip alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))  # (kernel, stride): 320 samples a frame
FIELD = 400  # samples one frame sees
STRIDE = 320
HIDDEN = -1e4  # attention bias of padding
# The first convolution has no bias and a layer norm follows, which forgets how loud its ten samples were, unless the
# variance of what it gives is about the norm's epsilon (1e-5): then the norm compresses instead of forgetting. Starting
# there halves the error with which the convolutions tell the log-mel spectrum.
QUIET = 0.01


@dataclass(frozen=True)
class Dimensions:
    """The network's numbers; everything else is as in the official configuration."""

    channels: int = 64
    width: int = 192
    heads: int = 3
    prenet_depth: int = 2
    depth: int = 2
    mlp_ratio: int = 4
    positional_depth: int = 5
    positional_width: int = 95
    positional_groups: int = 16
    extra_tokens: int = 10
    labels: int = 9


class Heard(NamedTuple):
    """One pass: spectral frames [B, F, D] (before positions), frames [B, F, D], their mean [B, D], logits [B, 9]."""

    spectral: Tensor
    frames: Tensor
    mean: Tensor
    logits: Tensor


def frames_of(samples: Tensor) -> Tensor:
    """Return the frames of clips of so many samples (400 or more)."""
    return torch.div(samples - FIELD, STRIDE, rounding_mode="floor") + 1


def alibi_slopes(heads: int) -> list[float]:
    """Return the geometric slopes of ALiBi (Press et al. 2021), also for head counts that are no power of two."""
    nearest = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (index + 1) / nearest) for index in range(nearest)]
    return slopes if nearest == heads else slopes + alibi_slopes(2 * nearest)[0::2][: heads - nearest]


class Attention(nn.Module):
    """Self-attention with an additive bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Mix tokens [B, N, D] under a bias [B, heads, N, N]."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # spelt out: with a bias that learns, PyTorch's fused attention falls back to a slower path than this
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2) + bias
        mixed: Tensor = self.proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    """Two linear maps with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, N, D] to the same shape."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return mapped


class Block(nn.Module):
    """A post-norm transformer block."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        width = dimensions.width
        self.attn = Attention(width, dimensions.heads)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = Mlp(width, dimensions.mlp_ratio * width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Map tokens [B, N, D] to the same shape."""
        x = self.norm1(x + self.attn(x, bias))
        mapped: Tensor = self.norm2(x + self.mlp(x))
        return mapped


class ConvolutionLayer(nn.Module):
    """Strided convolution over [B, T, C], layer norm over channels, GELU. The names ``0`` and ``2.1`` are FunASR's."""

    def __init__(self, inputs: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.add_module("0", nn.Conv1d(inputs, channels, kernel, stride, bias=False))
        self.add_module("2", nn.ModuleDict({"1": nn.LayerNorm(channels)}))

    @property
    def weight(self) -> Tensor:
        """The kernels [channels, inputs, kernel]."""
        return cast("nn.Conv1d", self.get_submodule("0")).weight

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, inputs] to [B, about T / stride, channels]."""
        # as a 2-d convolution on channels-last data: half the time of conv1d on a CPU, and no transposes
        image = x.transpose(1, 2).unsqueeze(2)
        x = F.conv2d(image, self.weight.unsqueeze(2), stride=(1, self.stride)).squeeze(2).transpose(1, 2)
        return F.gelu(self.get_submodule("2.1")(x))


class PositionalEncoder(nn.Module):
    """Grouped convolutions over frames, each followed by a layer norm without weights and GELU; added to the input."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        width = dimensions.width
        kernel = max(3, dimensions.positional_width // dimensions.positional_depth)
        for index in range(dimensions.positional_depth):
            conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=dimensions.positional_groups)
            self.add_module(str(index + 1), nn.Sequential(conv))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Map frames [B, F, D], of which ``valid`` [B, F, 1] exist, to the same shape."""
        y = x
        for layer in self.children():
            y = layer(y.transpose(1, 2)).transpose(1, 2)
            y = F.gelu(F.layer_norm(y, y.shape[-1:])) * valid
        return x + y


class Audio(nn.Module):
    """Waves to contextual frames: what FunASR calls the modality encoder."""

    slopes: Tensor

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        width, channels = dimensions.width, dimensions.channels
        inputs = (1,) + (channels,) * (len(CONVOLUTIONS) - 1)
        layers = [ConvolutionLayer(i, channels, k, s) for i, (k, s) in zip(inputs, CONVOLUTIONS, strict=True)]
        self.local_encoder = nn.ModuleDict({"conv_layers": nn.ModuleList(layers)})
        self.project_features = nn.ModuleDict({"1": nn.LayerNorm(channels), "2": nn.Linear(channels, width)})
        self.relative_positional_encoder = PositionalEncoder(dimensions)
        self.extra_tokens = nn.Parameter(torch.randn(1, dimensions.extra_tokens, width) * 0.02)
        self.alibi_scale = nn.Parameter(torch.ones(1, 1, dimensions.heads, 1, 1))
        nn.init.normal_(layers[0].weight, std=QUIET)
        self.register_buffer("slopes", torch.tensor(alibi_slopes(dimensions.heads)), persistent=False)
        blocks = nn.ModuleList(Block(dimensions) for _ in range(dimensions.prenet_depth))
        self.context_encoder = nn.ModuleDict({"norm": nn.LayerNorm(width), "blocks": blocks})

    @property
    def first_convolution(self) -> Tensor:
        """The kernels that hear the wave itself, [channels, 1, 10]."""
        return cast("ConvolutionLayer", cast("nn.ModuleList", self.local_encoder["conv_layers"])[0]).weight

    def listen(self, waves: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Give the spectral frames [B, F, D] of waves [B, T], and which of them are valid [B, F, 1]."""
        x = waves[..., None]
        for layer in cast("nn.ModuleList", self.local_encoder["conv_layers"]):
            x = layer(x)
        valid = (torch.arange(x.shape[1], device=x.device)[None] < frames[:, None])[..., None]
        return self.project_features["2"](self.project_features["1"](x)) * valid, valid

    def forward(self, waves: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map waves [B, T], frames [B] to (spectral [B, F, D], tokens [B, extra + F, D], attention bias)."""
        spectral, valid = self.listen(waves, frames)
        x = self.relative_positional_encoder(spectral, valid)
        x = torch.cat([self.extra_tokens.to(x.dtype).expand(len(x), -1, -1), x], 1)
        bias = self._attention_bias(x.shape[1], frames).to(x.dtype)
        x = self.context_encoder["norm"](x)
        for block in cast("nn.ModuleList", self.context_encoder["blocks"]):
            x = block(x, bias)
        return spectral, x, bias

    def _attention_bias(self, tokens: int, frames: Tensor) -> Tensor:
        """Return [B, heads, tokens, tokens]: ALiBi, zero for every pair with an extra token, padding hidden."""
        extra = self.extra_tokens.shape[1]
        place = torch.arange(tokens, device=frames.device)
        distance = (place[:, None] - place[None]).abs().float()
        among_frames = (place[:, None] >= extra) & (place[None] >= extra)
        slopes = self.slopes * self.alibi_scale.flatten().clamp_min(0)
        alibi = -slopes[:, None, None] * (distance * among_frames)
        padding = place[None] >= (frames + extra)[:, None]
        return alibi[None] + torch.where(padding, HIDDEN, 0.0)[:, None, None, :]


class Student(nn.Module):
    """Normalised waves → logits over the nine official labels."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.modality_encoders = nn.ModuleDict({"AUDIO": Audio(dimensions)})
        self.blocks = nn.ModuleList(Block(dimensions) for _ in range(dimensions.depth))
        self.proj = nn.Linear(dimensions.width, dimensions.labels)
        self.apply(_initialise)

    @property
    def audio(self) -> Audio:
        """The part that FunASR keeps under a name of its own."""
        return cast("Audio", self.modality_encoders["AUDIO"])

    def forward(self, waves: Tensor, frames: Tensor) -> Heard:
        """Judge waves [B, T], normalised per clip and zero padded, with frames [B] of each clip."""
        spectral, x, bias = self.audio(waves, frames)
        for block in self.blocks:
            x = block(x, bias)
        x = x[:, self.dimensions.extra_tokens :]
        valid = (torch.arange(x.shape[1], device=x.device)[None] < frames[:, None])[..., None]
        mean = (x.float() * valid).sum(1) / frames[:, None]
        logits = F.linear(mean, self.proj.weight.float(), self.proj.bias.float())
        return Heard(spectral, x, mean, logits)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d) and module.groups == 1 and module.in_channels > 1:
        nn.init.kaiming_normal_(module.weight)

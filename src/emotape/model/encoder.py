"""The emotion2vec network, in the paper's order, on a tape of clips.

Ma et al., "emotion2vec: Self-Supervised Pre-Training for Speech Emotion Representation", 2023, after data2vec 2.0. The
arithmetic follows the reference implementation (FunASR, `models/emotion2vec`), and a test holds it to that.

Shapes: S samples and F = frames(S) frames on the tape, gaps included; N tokens, which are each clip's extra tokens and
its frames, gaps left out; D = embed_dim; C = classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import nn

from emotape.model.attention import Attention, alibi_slopes
from emotape.model.pieces import ROWS_IN_CACHE, Pieces, by_rows, gelu_, pieces
from emotape.model.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from emotape.model.dims import Convolution, Dims

_FRAMES_IN_CACHE: Final = 64  # 1.3 s; the widest activations of these many frames take 8 MB in fp32


@dataclass(frozen=True, eq=False)
class TapeTensors:
    """A tape as the network takes it.

    wave    [S]  normalised clips, zeros between them
    keep    [F]  1 for a frame that belongs to a clip, 0 for one that straddles an edge or lies in a gap
    tokens  [N]  for every token, its row in [extra tokens; frames of the tape]
    """

    wave: Tensor
    keep: Tensor
    tokens: Tensor


class FrameConvolution(nn.Module):
    """A strided convolution over frames without bias, as one matrix product of windows with weights.

    The weight [channels, kernel · width] is that of a Conv1d with its axes in the order (channels, kernel, width).
    """

    def __init__(self, width: int, layer: Convolution) -> None:
        super().__init__()
        self.layer = layer
        self.product = nn.Linear(layer.kernel * width, layer.channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map frames [F, width] to the frames [F', channels] that lie wholly within them."""
        y: Tensor = self.product(windows(x, self.layer))
        return y


def windows(x: Tensor, layer: Convolution) -> Tensor:
    """Return what each frame of a layer's output sees of its input x [F, width]: [F', kernel · width]."""
    return x.unfold(0, layer.kernel, layer.stride).transpose(1, 2).flatten(1)


class FeatureExtractor(nn.Module):
    """Raw wave to local features: strided convolutions, each with LayerNorm over channels and GELU."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        widths = [1, *(layer.channels for layer in dims.convolutions)]
        self.convolutions = nn.ModuleList(
            FrameConvolution(width, layer) for width, layer in zip(widths, dims.convolutions, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(layer.channels) for layer in dims.convolutions)

    def forward(self, wave: Tensor, team: Team = ALONE) -> Tensor:
        """Map wave [S] to features [F, channels].

        A processor takes some frames at a time through all layers, so that their activations stay in its cache; the
        80 samples that neighbours share are worked on twice, which is next to nothing.
        """
        frames = self.dims.frames(len(wave))
        sizes = [frames] if wave.is_cuda else pieces(frames, _FRAMES_IN_CACHE, team.threads)
        return Pieces(sizes, team).each(lambda first, stop: self._features(wave, first, stop))

    def _features(self, wave: Tensor, first: int, stop: int) -> Tensor:
        x = wave[first * self.dims.stride : (stop - 1) * self.dims.stride + self.dims.field, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = gelu_(norm(convolution(x)))
        return x


class PositionConvolution(nn.Conv1d):
    """A grouped convolution over frames."""

    def forward(self, x: Tensor) -> Tensor:
        """Map frames [F + kernel - 1, D] to the frames [F, D] that have all their neighbours among them."""
        y: Tensor = super().forward(x.T[None])[0].T
        return y


class PositionEncoder(nn.Module):
    """Relative positions by a stack of grouped convolutions, each with LayerNorm without affine and GELU."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.reach = dims.position_reach
        self.convolutions = nn.ModuleList(
            PositionConvolution(dims.embed_dim, dims.embed_dim, dims.position_kernel, groups=dims.position_groups)
            for _ in range(dims.position_layers)
        )

    def forward(self, x: Tensor, keep: Tensor, frames: Pieces | None = None) -> Tensor:
        """Map x [F, D] to positions [F, D]; frames outside clips are zeroed before each layer, as padding would be.

        `frames`: those at a time, for a processor.
        """
        gelu = F.gelu if frames is None else gelu_
        frames = frames or Pieces([x.shape[0]])
        for convolution in self.convolutions:
            padded = F.pad(x * keep, (0, 0, self.reach, self.reach))
            x = frames.each(partial(self._positions, convolution, gelu, padded))
        return x

    def _positions(
        self, convolution: nn.Module, gelu: Callable[[Tensor], Tensor], padded: Tensor, first: int, stop: int
    ) -> Tensor:
        y = convolution(padded[first : stop + 2 * self.reach])
        return gelu(F.layer_norm(y, y.shape[-1:]))


class GeluLinear(nn.Linear):
    """A linear layer with GELU; one module, so that a processor can do both in one pass over the memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., in] to [..., out]."""
        return F.gelu(super().forward(x))


class MlpHead(nn.Linear):
    """A classifier with one hidden layer, for models that were adapted; the official head is linear."""

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims.head_hidden, dims.classes)
        self.hidden = nn.Linear(dims.embed_dim, dims.head_hidden)

    def within(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., D] to the hidden layer [..., H], in fp32."""
        return F.gelu(F.linear(vectors.float(), self.hidden.weight.float(), self.hidden.bias.float()))


class Block(nn.Module):
    """A post-norm transformer block."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.heads = dims.heads
        self.qkv = nn.Linear(dims.embed_dim, 3 * dims.embed_dim)
        self.proj = nn.Linear(dims.embed_dim, dims.embed_dim)
        self.norm1 = nn.LayerNorm(dims.embed_dim, eps=dims.norm_eps)
        self.fc1 = GeluLinear(dims.embed_dim, dims.mlp_dim)
        self.fc2 = nn.Linear(dims.mlp_dim, dims.embed_dim)
        self.norm2 = nn.LayerNorm(dims.embed_dim, eps=dims.norm_eps)

    def forward(self, x: Tensor, attend: Attention, rows: Pieces | None = None) -> Tensor:
        """Map tokens [N, D] to tokens [N, D]. `rows`: those at a time, for a processor."""
        apart = by_rows(self.qkv, rows, x).view(x.shape[0], 3, self.heads, x.shape[1] // self.heads)
        query, key, value = apart.unbind(1)
        return by_rows(self._after_attention, rows, x, attend(query, key, value).flatten(1))

    def _after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.norm1(x + self.proj(attended))
        y: Tensor = self.norm2(x + self.fc2(self.fc1(x)))
        return y


class Encoder(nn.Module):
    """The whole network: a tape of waves to one vector for every token."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        channels = dims.convolutions[-1].channels
        self.extractor = FeatureExtractor(dims)
        self.feature_norm = nn.LayerNorm(channels)
        self.feature_proj = nn.Linear(channels, dims.embed_dim)
        self.positions = PositionEncoder(dims)
        self.extra_tokens = nn.Parameter(torch.zeros(dims.extra_tokens, dims.embed_dim))
        self.alibi_scale = nn.Parameter(torch.ones(dims.heads))
        self.norm = nn.LayerNorm(dims.embed_dim, eps=dims.norm_eps)
        self.blocks = nn.ModuleList(Block(dims) for _ in range(dims.blocks))
        self.head = make_head(dims)

    def forward(self, tape: TapeTensors, attention: Callable[[Tensor], Attention], team: Team = ALONE) -> Tensor:
        """Return a vector [N, D] for every token of the tape.

        `attention` is given the slope of each head, scale included, and returns how to attend on this tape. `team`
        works on a processor.
        """
        keep = tape.keep[:, None]
        frames, rows = (None, None) if keep.is_cuda else (_in_cache(tape.keep, team), _in_cache(tape.tokens, team))
        x: Tensor = by_rows(self._projected, frames, self.extractor(tape.wave, team)) * keep
        x = x + self.positions(x, keep, frames)
        x = torch.cat([self.extra_tokens, x])[tape.tokens]
        attend = attention(self.head_slopes())
        x = self.norm(x)
        for block in self.blocks:
            x = block(x, attend, rows)
        return x

    def _projected(self, features: Tensor) -> Tensor:
        y: Tensor = self.feature_proj(self.feature_norm(features))
        return y

    def head_slopes(self) -> Tensor:
        """Return the slope of ALiBi for each head [heads], its learned scale included (never negative)."""
        slopes = torch.tensor(alibi_slopes(self.dims.heads), device=self.alibi_scale.device)
        return slopes * self.alibi_scale.float().clamp_min(0)

    def logits(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., D] to logits [..., C].

        Of a linear head, the mean of frame logits is the utterance's; of one with a hidden layer it is not.
        """
        if self.head is None:
            raise ValueError("an embedding-only network has no head")
        return classified(self.head, vectors)


def make_head(dims: Dims) -> nn.Linear | None:
    """Return the classifier that `dims` describe; None for an embedding-only network."""
    if not dims.classes:
        return None
    return MlpHead(dims) if dims.head_hidden else nn.Linear(dims.embed_dim, dims.classes)


def classified(head: nn.Linear, vectors: Tensor) -> Tensor:
    """Map vectors [..., D] to logits [..., C], in fp32 whatever comes in."""
    x = head.within(vectors) if isinstance(head, MlpHead) else vectors
    return F.linear(x.float(), head.weight.float(), head.bias.float())


def _in_cache(rows: Tensor, team: Team) -> Pieces:
    return Pieces(pieces(len(rows), ROWS_IN_CACHE, team.threads), team)


def normalized(samples: Tensor) -> Tensor:
    """Return one clip [n] with zero mean and unit variance over all its samples, as the reference feeds it."""
    return F.layer_norm(samples, samples.shape)

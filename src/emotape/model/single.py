"""The network on one clip, in operations whose every shape follows from the clip's length: what exporters trace.

A graph that another program runs knows no tape. So here is the order of `Encoder.forward` for a clip alone: no gaps, no
gathering of tokens, nothing in pieces. Every layer, the windows, the slopes and the head are the encoder's own; only
attention is written once more, as whole matrices. A test holds the scores to the tape's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import nn

from emotape.model.encoder import normalized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from emotape.model.encoder import Encoder
    from emotape.model.labels import Label

EMBEDDINGS: Final = ("embedding", "frame_embeddings")
SCORES: Final = ("logits", "scores", "frame_logits")


class SingleClip(nn.Module):
    """A clip's samples to scores and embeddings; in the dtype of the encoder, what goes in and out in float32."""

    unused: Tensor

    def __init__(self, encoder: Encoder, labels: Sequence[Label | None]) -> None:
        """Share the layers of `encoder`; a class whose label is None gets no score."""
        super().__init__()
        self.encoder = encoder
        self.register_buffer("unused", torch.tensor([0.0 if label else -torch.inf for label in labels]))

    @property
    def outputs(self) -> tuple[str, ...]:
        """What `forward` returns, by name and in order."""
        return EMBEDDINGS if self.encoder.head is None else SCORES + EMBEDDINGS

    def forward(self, samples: Tensor) -> tuple[Tensor, ...]:
        """Map samples [n] of at least one field to what `outputs` names.

        logits [C], scores [C], frame_logits [T, C]; embedding [D], frame_embeddings [T, D].
        """
        frames = self._vectors(samples).float()
        embedding = frames.mean(0)
        if self.encoder.head is None:
            return embedding, frames
        logits = self.encoder.logits(embedding)
        scores = (logits + self.unused).softmax(-1)
        return logits, scores, self.encoder.logits(frames), embedding, frames

    def _vectors(self, samples: Tensor) -> Tensor:
        """Return the vector of every frame [T, D]."""
        encoder = self.encoder
        x: Tensor = encoder.feature_proj(encoder.feature_norm(self._features(samples)))
        x = x + encoder.positions(x, x.new_ones(1))
        attend = WholeAttention(encoder.head_slopes(), x.shape[0], encoder.dims.extra_tokens)
        x = encoder.norm(torch.cat([encoder.extra_tokens, x]))
        for block in encoder.blocks:
            x = block(x, attend)
        return x[encoder.dims.extra_tokens :]

    def _features(self, samples: Tensor) -> Tensor:
        extractor = self.encoder.extractor
        wave = normalized(samples) if self.encoder.dims.normalize else samples
        x = wave.to(self.encoder.alibi_scale.dtype)[:, None]
        for convolution, norm in zip(extractor.convolutions, extractor.norms, strict=True):
            x = F.gelu(norm(convolution(x)))
        return x


class WholeAttention:
    """Attention of one clip with itself. Its bias, heads × N × N in float32, takes 146 MB for 30 s of 16 heads."""

    def __init__(self, slopes: Tensor, frames: int, extra_tokens: int) -> None:
        """`slopes` [heads]: slope times scale."""
        place = torch.arange(frames, dtype=torch.float32)
        apart = (place[:, None] - place).abs()
        self._bias = -slopes[:, None, None] * F.pad(apart, (extra_tokens, 0, extra_tokens, 0))

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map query, key and value [tokens, heads, head_dim] to [tokens, heads, head_dim]; softmax in float32."""
        scaled = (query * query.shape[-1] ** -0.5).transpose(0, 1)
        scores = (scaled @ key.permute(1, 2, 0)).float() + self._bias
        attended: Tensor = scores.softmax(-1).to(value.dtype) @ value.transpose(0, 1)
        return attended.transpose(0, 1)

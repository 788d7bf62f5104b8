"""Attention on a tape: clips lie one after another in one row of tokens and never see each other.

The score of query i and key j gets ALiBi's bias −|i − j| · slope_h · scale_h (Press et al., 2022), which is zero for
every pair with an extra token. The bias of a whole clip is never made: queries go in blocks, so that memory stays
bounded however long a clip is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_BIAS_VALUES: Final = 4_000_000  # of one block of queries; 16 MB in fp32, which stays near the cache


class Attention(Protocol):
    """Attend within each clip of a tape."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map query, key and value [tokens, heads, head_dim] to [tokens, heads, head_dim]."""


def alibi_slopes(heads: int) -> list[float]:
    """Return ALiBi's slope of each head; for a count that is no power of two, interleaved from the next ones."""
    if heads & (heads - 1) == 0:
        first = 2.0 ** (-8.0 / heads)
        return [first ** (power + 1) for power in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return alibi_slopes(below) + alibi_slopes(2 * below)[0::2][: heads - below]


class ClipAttention:
    """Exact attention clip by clip, for the CPU and as the measure for every other way."""

    def __init__(self, lengths: Sequence[int], extra_tokens: int, slopes: Tensor) -> None:
        """`lengths`: tokens of each clip, extra tokens included; `slopes` [heads]: slope times scale."""
        self._lengths = list(lengths)
        self._extra = extra_tokens
        self._slopes = slopes

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map query, key and value [tokens, heads, head_dim] to [tokens, heads, head_dim]."""
        parts = (whole.split_with_sizes(self._lengths) for whole in (query, key, value))
        return torch.cat([self._clip(*clip) for clip in zip(*parts, strict=True)])

    def _clip(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        tokens = len(query)
        query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
        rows = max(1, _BIAS_VALUES // (tokens * len(self._slopes)))
        blocks = [
            F.scaled_dot_product_attention(
                query[:, :, start : start + rows],
                key,
                value,
                attn_mask=alibi_bias(start, min(start + rows, tokens), tokens, self._extra, self._slopes)[None].to(
                    query.dtype
                ),
            )
            for start in range(0, tokens, rows)
        ]
        return torch.cat(blocks, dim=2)[0].transpose(0, 1)


def alibi_bias(start: int, stop: int, tokens: int, extra_tokens: int, slopes: Tensor) -> Tensor:
    """Return the bias [heads, stop - start, tokens] of queries `start` to `stop` of one clip."""
    place = torch.arange(tokens, device=slopes.device)
    distance = (place[start:stop, None] - place[None]).abs_().to(slopes.dtype)
    distance[:, :extra_tokens] = 0
    distance[: max(0, extra_tokens - start)] = 0
    return -slopes[:, None, None] * distance

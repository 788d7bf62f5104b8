"""Attention on a tape: clips lie one after another in one row of tokens and never see each other.

The score of query i and key j gets ALiBi's bias −|i − j| · slope_h · scale_h (Press et al., 2022), which is zero for
every pair with an extra token. The bias of a whole clip, heads × N × N, is never made: one matrix of distances serves
all heads, and queries go in blocks, so that memory stays bounded however long a clip is.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import torch

from emotape.model.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_ROWS: Final = 256  # queries at a time; a block of scores of a 30 s clip takes 1.5 MB in fp32 and stays in the cache
_KEPT: Final = 4_000_000  # distances of a clip that are kept from block to block; 16 MB in fp32


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

    def __init__(self, lengths: Sequence[int], extra_tokens: int, slopes: Tensor, team: Team = ALONE) -> None:
        """`lengths`: tokens of each clip, extra tokens included; `slopes` [heads]: slope times scale."""
        self._lengths = list(lengths)
        self._extra = extra_tokens
        self._slopes: list[float] = slopes.tolist()
        self._distances: dict[int, Tensor] = {}
        self._team = team

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map query, key and value [tokens, heads, head_dim] to [tokens, heads, head_dim]."""
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        first = 0
        for tokens in self._lengths:
            clip = slice(first, first + tokens)
            self._attend(out[clip], query[clip], key[clip], value[clip])
            first += tokens
        out[first:] = 0  # tokens that no clip has
        return out

    def _attend(self, out: Tensor, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Fill `out` for one clip, a block of queries and a head at a time."""
        for start in range(0, len(query), _ROWS):
            rows = slice(start, start + _ROWS)
            distance = self._distance(rows, len(query), query)
            attend = partial(self._attend_head, out[rows], query[rows], key, value, distance)
            self._team.share(attend, range(len(self._slopes)))

    def _attend_head(self, out: Tensor, query: Tensor, key: Tensor, value: Tensor, distance: Tensor, head: int) -> None:
        slope, scale = self._slopes[head], query.shape[-1] ** -0.5
        scores = torch.addmm(distance, query[:, head], key[:, head].T, beta=-slope, alpha=scale)
        torch.softmax(scores, -1, out=scores)
        torch.mm(scores, value[:, head], out=out[:, head])

    def _distance(self, rows: slice, tokens: int, like: Tensor) -> Tensor:
        """Return |i − j| [rows, tokens] for one block of queries of a clip, 0 where i or j is an extra token."""
        if tokens * tokens > _KEPT:
            return distances(rows.start, min(rows.stop, tokens), tokens, self._extra, like)
        if tokens not in self._distances:
            self._distances[tokens] = distances(0, tokens, tokens, self._extra, like)
        return self._distances[tokens][rows]


def distances(start: int, stop: int, tokens: int, extra_tokens: int, like: Tensor) -> Tensor:
    """Return |i − j| [stop - start, tokens], 0 where i or j is an extra token, in the dtype of `like`."""
    place = torch.arange(tokens, device=like.device, dtype=torch.float32)
    apart = (place[start:stop, None] - place[None]).abs_()
    apart[:, :extra_tokens] = 0
    apart[: max(0, extra_tokens - start)] = 0
    return apart.to(like.dtype)

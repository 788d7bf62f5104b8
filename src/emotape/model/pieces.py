"""Rows in pieces of few sizes.

A processor's library makes a kernel for every shape of product and keeps it. Recordings have any length; so that they
share few kernels, rows go in pieces of one size, and a tape is lengthened by some rows, so that the last piece has one
of few sizes. A piece's activations also stay in the cache from one layer to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F

from emotape.model.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from emotape.model.dims import Dims
    from emotape.model.encoder import TapeTensors

ROWS_IN_CACHE: Final = 256  # a block's widest activations of these many rows take 4 MB in fp32
_STEP: Final = 8  # rows; the products' own loops take so many
_WORTHWHILE: Final = 32  # rows; with fewer, a thread is hardly faster than the way to it
_WIDE: Final = 512  # channels; on more, the quicker kernel of GELU saves as much as making it costs
_FINE: Final = 128  # rows; up to here the last piece is a multiple of four, beyond it of eight


def rounded(rows: int, longest: int) -> int:
    """Return how long `rows` become, so that the last of their pieces has one of few sizes; at most seven more."""
    left = rows % longest
    return rows + (-left % 4 if left <= _FINE else -left % 8)


def pieces(rows: int, longest: int, threads: int = 1) -> list[int]:
    """Return sizes that add up to `rows`: as often as it fits one that is at most `longest`, then what is left.

    For several threads it is so short that each gets as many pieces, unless that is not worth their while.
    """
    rounds = -(-rows // (longest * threads))
    count = min(threads * rounds, rows // _WORTHWHILE)
    size = min(longest, -(-rows // (_STEP * count)) * _STEP) if threads > 1 and count > 1 else longest
    left = rows % size
    return [size] * (rows // size) + ([left] if left else [])


@dataclass(frozen=True)
class Pieces:
    """Which rows of a tape go together, `sizes` that add up to all of them, and who works on them."""

    sizes: Sequence[int]
    team: Team = ALONE

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield the first row of each piece and the one behind its last."""
        return pairwise(accumulate(self.sizes, initial=0))

    def each(self, function: Callable[[int, int], Tensor]) -> Tensor:
        """Return the rows that a function makes of each piece's first row and the one behind its last."""
        return torch.cat(self.team.share(lambda span: function(*span), self.spans()))


def by_rows(function: Callable[..., Tensor], parts: Pieces | None, *rows: Tensor) -> Tensor:
    """Apply a function that treats every row by itself to some rows at a time; without `parts`, to all at once."""
    if parts is None or len(parts.sizes) == 1:
        return function(*rows)
    return parts.each(lambda first, stop: function(*(one[first:stop] for one in rows)))


def gelu_(x: Tensor) -> Tensor:
    """Apply GELU to rows [n, m] that lie side by side in memory, in place, and return them."""
    return any_gelu_(x) if x.shape[1] < _WIDE else torch.ops.aten.gelu_(x)


def any_gelu_(x: Tensor) -> Tensor:
    """Like `gelu_`, for rows in ever new numbers.

    torch leaves GELU to oneDNN, which makes a kernel for every new shape in 0.2 ms. Its own kernel takes any shape, and
    a third longer; a transposed view gets that one.
    """
    torch.ops.aten.gelu_(x.T)
    return x


def whole(tape: TapeTensors, dims: Dims) -> TapeTensors:
    """Lengthen a tape until it ends with a whole piece: by frames outside clips, and by tokens that no clip has."""
    from emotape.model.encoder import TapeTensors

    frames, tokens = (rounded(len(rows), ROWS_IN_CACHE) for rows in (tape.keep, tape.tokens))
    samples = max(len(tape.wave), (frames - 1) * dims.stride + dims.field)
    return TapeTensors(_longer(tape.wave, samples), _longer(tape.keep, frames), _longer(tape.tokens, tokens))


def _longer(values: Tensor, length: int) -> Tensor:
    return F.pad(values, (0, length - len(values)))

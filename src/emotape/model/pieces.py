"""Rows in pieces of few sizes.

A processor's library makes a kernel for every shape of product and keeps it. Recordings have any length; so that they
share few kernels, rows go in pieces of one size, and a tape is lengthened by some rows, so that the last piece has one
of few sizes. A piece's activations also stay in the cache from one layer to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from emotape.model.dims import Dims
    from emotape.model.encoder import TapeTensors

ROWS_IN_CACHE: Final = 256  # a block's widest activations of these many rows take 4 MB in fp32
_FINE: Final = 128  # rows; up to here the last piece is a multiple of four, beyond it of eight


def rounded(rows: int, longest: int) -> int:
    """Return how long `rows` become, so that the last of their pieces has one of few sizes; at most seven more."""
    left = rows % longest
    return rows + (-left % 4 if left <= _FINE else -left % 8)


def pieces(rows: int, longest: int) -> list[int]:
    """Return sizes that add up to `rows`: `longest` as often as it fits, then what is left."""
    left = rows % longest
    return [longest] * (rows // longest) + ([left] if left else [])


def by_rows(function: Callable[..., Tensor], sizes: Sequence[int] | None, *rows: Tensor) -> Tensor:
    """Apply a function that treats every row by itself to some rows at a time; without `sizes`, to all at once."""
    if sizes is None or len(sizes) == 1:
        return function(*rows)
    parts = (one.split_with_sizes(list(sizes)) for one in rows)
    return torch.cat([function(*part) for part in zip(*parts, strict=True)])


def whole(tape: TapeTensors, dims: Dims) -> TapeTensors:
    """Lengthen a tape until it ends with a whole piece: by frames outside clips, and by tokens that no clip has."""
    from emotape.model.encoder import TapeTensors

    frames, tokens = (rounded(len(rows), ROWS_IN_CACHE) for rows in (tape.keep, tape.tokens))
    samples = max(len(tape.wave), (frames - 1) * dims.stride + dims.field)
    return TapeTensors(_longer(tape.wave, samples), _longer(tape.keep, frames), _longer(tape.tokens, tokens))


def _longer(values: Tensor, length: int) -> Tensor:
    return F.pad(values, (0, length - len(values)))

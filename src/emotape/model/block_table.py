"""Which blocks of a tape's tokens can see each other: arithmetic on where clips begin and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class BlockTable:
    """Which blocks of keys each of Q blocks of queries looks at; int32.

    Of `partial` [Q, Q] the first `partial_count` [Q] of a row count: blocks in which some pairs see each other. In the
    blocks of `full` [Q, Q], all pairs do, and the kernel asks nothing.
    """

    partial_count: NDArray[np.int32]
    partial: NDArray[np.int32]
    full_count: NDArray[np.int32]
    full: NDArray[np.int32]


def clip_bounds(lengths: Sequence[int], tokens: int, block: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return for each of `tokens` tokens where its clip begins and where it ends, int32 [tokens].

    What is left of the tape is divided at the borders of blocks into clips that nobody reads: as one clip they would
    cost as much as a real one.
    """
    used = sum(lengths)
    borders = np.arange(used // block + 1, tokens // block) * block
    firsts = np.concatenate([np.cumsum([0, *lengths]), borders[borders > used], [tokens]])
    firsts = np.unique(firsts).astype(np.int32)
    counts = np.diff(firsts)
    return np.repeat(firsts[:-1], counts), np.repeat(firsts[1:], counts)


def block_table(starts: NDArray[np.int32], stops: NDArray[np.int32], block: int) -> BlockTable:
    """Return the blocks to look at for clips from `starts` to `stops` [N], N a multiple of `block`."""
    first, last = starts[::block], stops[block - 1 :: block]
    alone = (first == starts[block - 1 :: block])[:, None]  # the whole block of queries belongs to one clip
    columns = np.arange(len(first))[None]
    seen = (columns >= first[:, None] // block) & (columns <= (last[:, None] - 1) // block)
    whole = alone & (columns * block >= first[:, None]) & ((columns + 1) * block <= last[:, None])
    return BlockTable(*_listed(seen & ~whole), *_listed(seen & whole))


def _listed(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return how many columns of each row are chosen, and the columns with the chosen ones first."""
    order = np.argsort(~chosen, axis=1, kind="stable")
    return chosen.sum(1, dtype=np.int32), order.astype(np.int32)

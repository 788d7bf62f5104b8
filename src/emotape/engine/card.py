"""How long tapes may be on a graphics card: arithmetic over its free memory and the network's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from emotape.model.dims import Dims

SMALLEST_TAPE: Final = 256
LARGEST_TAPE: Final = 16_384
"""Tokens; 5 minutes of speech. Longer tapes keep a card no busier and make callers wait longer for each other."""
WINDOW_TAPE: Final = 2_048
"""Tokens of the smallest tape that takes any window (30 s)."""
MOST_FRAMES: Final = 4_096
_FEWEST_FRAMES: Final = 512
_USABLE: Final = 0.8  # of the free memory; the libraries' own workspaces and what is lost between blocks is the rest


def piece_of(tokens: int) -> int:
    """Return how many frames the strided convolutions make at a time where the longest tape has `tokens` tokens.

    Each frame is 64 rows in the first of them: without pieces, this would be most of the memory. In small pieces a card
    is not busy.
    """
    return max(_FEWEST_FRAMES, min(MOST_FRAMES, tokens // 4))


def tape_tokens_for(free: int, dims: Dims, arithmetic: str) -> int:
    """Return the tokens of the longest tapes for a card with `free` bytes; at least those that a window needs."""
    tokens = LARGEST_TAPE
    while tokens > WINDOW_TAPE and needed_bytes(tokens, dims, arithmetic) > _USABLE * free:
        tokens //= 2
    return tokens


def needed_bytes(tokens: int, dims: Dims, arithmetic: str) -> int:
    """Return the memory that the network takes on a card with tapes of up to `tokens` tokens, in bytes.

    Its widest moments are the first two strided convolutions of a piece and, over the whole tape, the inner layer of a
    block; they do not meet. Samples are there three times: where they are used, and for the next tape of each lane.
    """
    size = 4 if arithmetic == "float32" else 2
    weights = dims.parameters + 4 * dims.position_layers * dims.embed_dim * _position_width(dims)  # repeated, shifted
    first, second = dims.convolutions[:2] if len(dims.convolutions) > 1 else dims.convolutions * 2
    rows = dims.stride // first.stride  # on one frame
    piece = piece_of(tokens) * rows * (first.channels + 2 * second.channels // second.stride)
    features = tokens * dims.convolutions[-1].channels
    inner = tokens * (4 * dims.embed_dim + 2 * dims.mlp_dim)
    scores = 4 * tokens * dims.embed_dim
    samples = 3 * 4 * tokens * dims.stride
    return size * (weights + max(piece + features, inner)) + scores + samples


def _position_width(dims: Dims) -> int:
    return dims.position_kernel * dims.embed_dim // dims.position_groups

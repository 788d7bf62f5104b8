"""How much arithmetic a clip is, counted from the network's numbers: two operations for each multiplication."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emotape.model.dims import Dims


def clip_flops(samples: int, dims: Dims) -> int:
    """Return the operations of all matrix products for one clip, attention included."""
    frames = dims.frames(samples)
    tokens = frames + dims.extra_tokens
    width = dims.embed_dim
    features = frames * dims.convolutions[-1].channels * width
    positions = dims.position_layers * frames * width * (width // dims.position_groups) * dims.position_kernel
    block = tokens * (4 * width * width + 2 * width * dims.mlp_dim) + 2 * tokens * tokens * width
    return 2 * (_extractor(samples, dims) + features + positions + dims.blocks * block)


def _extractor(samples: int, dims: Dims) -> int:
    total, length, width = 0, samples, 1
    for layer in dims.convolutions:
        length = (length - layer.kernel) // layer.stride + 1
        total += length * layer.kernel * width * layer.channels
        width = layer.channels
    return total

"""How fast this machine's cores multiply: two seconds of products in a network's own shapes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from emotape.delivery.planning.cost import Rate
from emotape.engine.plan import is_small

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.engine.plan import Arithmetic
    from emotape.model.dims import Dims

_ROWS: Final = 256
_SECONDS: Final = 2.0


def measured_rate(dims: Dims, arithmetic: Arithmetic, seconds: float = _SECONDS) -> Rate:
    """Multiply on one thread for about `seconds`, and return the rate in the best of many short looks."""
    import torch

    from emotape.model.team import multiplying_alone

    with torch.inference_mode(), multiplying_alone():
        return Rate(
            _best(_product(dims, arithmetic), 2 * _ROWS * dims.embed_dim * dims.mlp_dim, seconds), measured=True
        )


def _product(dims: Dims, arithmetic: Arithmetic) -> Callable[[], object]:
    """Return a product of rows and weights as the runner has it: packed, in integers, or of a small network."""
    import torch
    from torch.nn import Linear

    from emotape.model.packed import Int8Linear, PackedLinear
    from emotape.model.small import TransposedLinear

    layer = Linear(dims.embed_dim, dims.mlp_dim)
    if arithmetic == "int8":
        integers, rows = Int8Linear(layer), torch.randint(0, 255, (_ROWS, dims.embed_dim), dtype=torch.uint8)
        return lambda: integers.product(rows, 0.01, 128, torch.bfloat16)
    dtype = torch.float32 if arithmetic == "float32" else torch.bfloat16
    values = torch.randn(_ROWS, dims.embed_dim, dtype=dtype)
    if arithmetic == "float32" and is_small(dims.parameters):
        small = TransposedLinear(layer)
        return lambda: small(values)
    packed = PackedLinear(layer, torch.empty(layer.weight.numel(), dtype=dtype))
    return lambda: packed(values)


def _best(product: Callable[[], object], operations: int, seconds: float) -> float:
    """Return GFLOP/s; what else the machine does meanwhile only makes a look slower, so the best one counts."""
    best = 0.0
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        repetitions = 0
        while time.perf_counter() - began < seconds / 20:
            product()
            repetitions += 1
        best = max(best, repetitions * operations / (time.perf_counter() - began) / 1e9)
    return best

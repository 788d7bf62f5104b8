"""How fast this machine's cores multiply: two seconds of products in a network's own shapes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from emotape.delivery.planning.cost import Rate

if TYPE_CHECKING:
    from emotape.engine.plan import Arithmetic
    from emotape.model.dims import Dims

_ROWS: Final = 256
_SECONDS: Final = 2.0
_INTEGERS: Final = 2.1  # int8 over bf16, where a core has both


def measured_rate(dims: Dims, arithmetic: Arithmetic, seconds: float = _SECONDS) -> Rate:
    """Multiply on one thread for about `seconds`, and return the rate in the best of many short looks."""
    import torch

    from emotape.model.team import multiplying_alone

    with torch.inference_mode(), multiplying_alone():
        core = _best(dims, arithmetic, seconds)
    return Rate(core * (_INTEGERS if arithmetic == "int8" else 1.0), measured=True)


def _best(dims: Dims, arithmetic: Arithmetic, seconds: float) -> float:
    """Return GFLOP/s; what else the machine does meanwhile only makes a look slower, so the best one counts."""
    import torch

    dtype = torch.float32 if arithmetic == "float32" else torch.bfloat16
    layer = torch.nn.Linear(dims.embed_dim, dims.mlp_dim).to(dtype)
    rows = torch.randn(_ROWS, dims.embed_dim).to(dtype)
    operations, best = 2 * _ROWS * dims.embed_dim * dims.mlp_dim, 0.0
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        repetitions = 0
        while time.perf_counter() - began < seconds / 20:
            layer(rows)
            repetitions += 1
        best = max(best, repetitions * operations / (time.perf_counter() - began) / 1e9)
    return best

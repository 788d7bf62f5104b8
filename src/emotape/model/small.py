"""The linear layers of a small network in fp32, for a processor.

A packed product is a tenth faster, but its kernel is made anew for every number of rows, in a millisecond. A large
network does not notice; of a small one's clip, new kernels would be a fifth. So a small network leaves its products to
the BLAS, which takes any shape, and whose rows come out the same to the last bit however many there are: a clip gets
exactly the same answer on a tape and alone. Weights lie transposed for it: between two calls of a layer all others'
have passed through the inner cache, and from the outer one the BLAS reads them faster this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from emotape.model.encoder import GeluLinear
from emotape.model.pieces import any_gelu_

if TYPE_CHECKING:
    from torch import Tensor


class TransposedLinear(nn.Module):
    """A linear layer in fp32, with GELU if the original had it, on its weight [in, out]."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._gelu = isinstance(layer, GeluLinear)
        self._weight = layer.weight.detach().float().T.contiguous()
        bias: Tensor | None = layer.bias  # torch's types say that it is always there
        self._bias = None if bias is None else bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """Map x [rows, in] to [rows, out]."""
        y = torch.mm(x, self._weight) if self._bias is None else torch.addmm(self._bias, x, self._weight)
        return any_gelu_(y) if self._gelu else y

"""The same network with its linear layers laid out for a processor: once at loading instead of at every call.

Three ways, chosen by `pack`: fp32 and bf16 in oneDNN's blocked layout, and int8, where weights have one scale for each
output and activations one for each call. Everything else of the network stays as it is. The operators are those that
torch's own compiler emits for processors; they have no public names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from emotape.model.encoder import Encoder, GeluLinear

if TYPE_CHECKING:
    from torch import Tensor

_MKLDNN: Any = torch.ops.mkldnn

_MIDDLE = torch.tensor(128.5)
_ROWS = 128
_SMALL = 64  # inputs; a layer this narrow (the first convolution) gains nothing from int8 and loses accuracy


def pack(encoder: Encoder, arithmetic: str) -> Encoder:
    """Replace every linear layer of `encoder` but its head, and return it. The encoder must be on the CPU.

    `arithmetic` is "float32", "bfloat16" or "int8"; with int8 the activations go from layer to layer in bfloat16. The
    encoder may come in any dtype: layers are converted one by one, so that no second copy of all weights is ever made.
    The head is kept in fp32.
    """
    dtype = torch.float32 if arithmetic == "float32" else torch.bfloat16
    for parent in list(encoder.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear) and layer is not encoder.head:
                setattr(parent, name, _packed(layer, arithmetic, dtype))
    for name, kept in encoder.named_parameters():
        # What is left is small. A copy lets go of the file, whose pages would otherwise stay in memory beside ours.
        kept.data = kept.data.to(torch.float32 if name.startswith("head.") else dtype, copy=True)
    return encoder


def _packed(layer: nn.Linear, arithmetic: str, dtype: torch.dtype) -> nn.Module:
    if arithmetic == "int8" and layer.in_features > _SMALL:
        return Int8Linear(layer)
    return PackedLinear(layer, dtype)


class PackedLinear(nn.Module):
    """A linear layer, with GELU if the original had it, on weights in the layout of the processor's own kernels."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self._activation = "gelu" if isinstance(layer, GeluLinear) else "none"
        weight = layer.weight.detach().to(dtype).contiguous()
        self._weight: Tensor = _MKLDNN._reorder_linear_weight(weight, None)
        self._bias = _bias(layer, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [rows, in] to [rows, out]."""
        y: Tensor = _MKLDNN._linear_pointwise(x, self._weight, self._bias, self._activation, [], "none")
        return y


class Int8Linear(nn.Module):
    """A linear layer in int8, with GELU if the original had it; sums are in int32, and come out in x's dtype."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._activation = "gelu" if isinstance(layer, GeluLinear) else "none"
        quantized, self._scales = _quantized(layer.weight.detach())
        self._weight: Tensor = torch.ops.onednn.qlinear_prepack(quantized, None)
        self._zeros = torch.zeros(len(quantized), dtype=torch.int32)
        self._bias = _bias(layer, torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [rows, in] to [rows, out]."""
        lowest, highest = torch.aminmax(x)
        scale = max(float(highest), -float(lowest), 1e-12) / 127
        # Unsigned with its zero at 128, which is what the processor's dot products take on the left. Half is added
        # because the conversion cuts; 127 scales either way stay within 1 to 255, so nothing needs clamping.
        quantized = torch.add(_MIDDLE, x.float(), alpha=1 / scale).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            quantized, scale, 128, self._weight, self._scales, self._zeros, self._bias, 1.0, 0, x.dtype,
            self._activation, [], "none",
        )  # fmt: skip
        return y


def _quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return a weight [out, in] in int8 and the scale of each output, some rows at a time to keep the memory whole."""
    quantized = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(len(weight))
    for start in range(0, len(weight), _ROWS):
        rows = slice(start, start + _ROWS)
        exact = weight[rows].float()
        scales[rows] = exact.abs().amax(1).clamp_min(1e-12) / 127
        quantized[rows] = (exact / scales[rows, None]).round_().to(torch.int8)
    return quantized, scales


def _bias(layer: nn.Linear, dtype: torch.dtype) -> Tensor | None:
    bias: Tensor | None = layer.bias  # torch's types say that it is always there
    return None if bias is None else bias.detach().to(dtype, copy=True)

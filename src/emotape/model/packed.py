"""The same network with its linear layers laid out for a processor: once at loading instead of at every call.

Three ways, chosen by `pack`: fp32 and bf16 in oneDNN's blocked layout, and int8, where weights have one scale for each
output and activations one for each call. Everything else of the network stays as it is. The operators are those that
torch's own compiler emits for processors; they have no public names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from emotape.model.dims import LARGE
from emotape.model.encoder import Encoder, FrameConvolution, GeluLinear, PositionConvolution, windows
from emotape.model.pieces import pieces
from emotape.model.small import TransposedLinear

if TYPE_CHECKING:
    from torch import Tensor

_MKLDNN: Any = torch.ops.mkldnn

_ROWS = 128
_VALUES = 1 << 18  # quantised at a time; 1 MB in fp32
_PACKED = (nn.Linear, FrameConvolution, PositionConvolution)
_HALVES = (
    2  # convolutions that int8 leaves in bf16: the first is too narrow to gain, the second hears a few loud frames
)


def pack(encoder: Encoder, arithmetic: str) -> Encoder:
    """Replace every linear layer of `encoder` but its head, and return it. The encoder must be on the CPU.

    `arithmetic` is "float32", "bfloat16" or "int8"; with int8 the activations go from layer to layer in bfloat16. The
    encoder may come in any dtype: layers are converted one by one, so that no second copy of all weights is ever made.
    The head is kept in fp32.

    In fp32 a small network's layers take another form, which `model/small.py` explains.
    """
    dtype = torch.float32 if arithmetic == "float32" else torch.bfloat16
    if arithmetic == "float32" and encoder.dims.parameters < LARGE:
        for parent, name in _places(encoder):
            setattr(parent, name, _small(getattr(parent, name)))
        return encoder.to(dtype)
    buffer = torch.empty(_largest(encoder), dtype=dtype)
    for parent, name in _places(encoder):
        early = parent is encoder.extractor.convolutions and int(name) < _HALVES
        in_halves = early and arithmetic == "int8"
        # Nothing else holds the layer: its pages of the file go with it.
        setattr(parent, name, _packed(getattr(parent, name), "bfloat16" if in_halves else arithmetic, buffer))
    for name, kept in encoder.named_parameters():
        # What is left is small. A copy lets go of the file, whose pages would otherwise stay in memory beside ours.
        kept.data = kept.data.to(torch.float32 if name.startswith("head.") else dtype, copy=True)
    return encoder


def _places(encoder: Encoder) -> list[tuple[nn.Module, str]]:
    """Return where the layers are that are packed: the module that holds one, and its name there."""
    return [
        (parent, name)
        for parent in encoder.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, _PACKED)
        and not isinstance(parent, FrameConvolution)
        and encoder.head not in (parent, layer)
    ]


def _largest(encoder: Encoder) -> int:
    return max(values.numel() for values in encoder.parameters())


def _packed(layer: nn.Module, arithmetic: str, buffer: Tensor) -> nn.Module:
    if isinstance(layer, PositionConvolution):
        return PackedConvolution(layer, buffer)
    if isinstance(layer, FrameConvolution):
        return _packed_frames(layer, arithmetic, buffer)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{type(layer)} cannot be packed")
    return Int8Linear(layer) if arithmetic == "int8" else PackedLinear(layer, buffer)


def _small(layer: nn.Module) -> nn.Module:
    if isinstance(layer, FrameConvolution):
        layer.add_module("product", TransposedLinear(layer.product))
        return layer
    return TransposedLinear(layer) if isinstance(layer, nn.Linear) else layer


def _packed_frames(layer: FrameConvolution, arithmetic: str, buffer: Tensor) -> nn.Module:
    if arithmetic == "int8":
        return Int8FrameConvolution(layer)
    layer.add_module("product", PackedLinear(layer.product, buffer))
    return layer


def _converted(weight: Tensor, buffer: Tensor) -> Tensor:
    """Return a weight in the dtype of `buffer`, and in it if that is another: copies would leave holes in the heap."""
    if weight.dtype == buffer.dtype and weight.is_contiguous():
        return weight.detach()
    return buffer[: weight.numel()].view(weight.shape).copy_(weight.detach())


class PackedLinear(nn.Module):
    """A linear layer, with GELU if the original had it, on weights in the layout of the processor's own kernels."""

    def __init__(self, layer: nn.Linear, buffer: Tensor) -> None:
        """`buffer` has the dtype to calculate in and room for the weight; it is free again afterwards."""
        super().__init__()
        self._activation = "gelu" if isinstance(layer, GeluLinear) else "none"
        self._weight: Tensor = _MKLDNN._reorder_linear_weight(_converted(layer.weight, buffer), None)
        self._bias = _bias(layer, buffer.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map x [rows, in] to [rows, out]."""
        y: Tensor = _MKLDNN._linear_pointwise(x, self._weight, self._bias, self._activation, [], "none")
        return y


class PackedConvolution(nn.Module):
    """A positional convolution on weights in the layout of the processor's own kernels."""

    def __init__(self, layer: PositionConvolution, buffer: Tensor) -> None:
        """`buffer` as for `PackedLinear`."""
        super().__init__()
        self._groups = layer.groups
        weight = _converted(layer.weight, buffer)[:, :, None]
        one_piece = [1, layer.in_channels, 1, _ROWS + layer.kernel_size[0] - 1]
        self._weight: Tensor = _MKLDNN._reorder_convolution_weight(
            weight, [0, 0], [1, 1], [1, 1], layer.groups, one_piece
        )
        self._bias = _bias(layer, buffer.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map frames [F + kernel - 1, D] to frames [F, D], as a picture of one line whose channels come last."""
        y: Tensor = _MKLDNN._convolution_pointwise(
            x[None, None].permute(0, 3, 1, 2), self._weight, self._bias,
            [0, 0], [1, 1], [1, 1], self._groups, "none", [], "",
        )  # fmt: skip
        return y[0, :, 0].T


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
        return self.product(*_unsigned(x), x.dtype)

    def product(self, quantized: Tensor, scale: float, zero: int, dtype: torch.dtype) -> Tensor:
        """Map quantised rows [rows, in], the size of a step and the step that is zero, to [rows, out] in `dtype`."""
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            quantized, scale, zero, self._weight, self._scales, self._zeros, self._bias, 1.0, 0, dtype,
            self._activation, [], "none",
        )  # fmt: skip
        return y


class Int8FrameConvolution(nn.Module):
    """A strided convolution in int8 that quantises frames before they are copied into windows, not after."""

    def __init__(self, layer: FrameConvolution) -> None:
        super().__init__()
        self._layer = layer.layer
        self.product = Int8Linear(layer.product)

    def forward(self, x: Tensor) -> Tensor:
        """Map frames [F, width] to the frames [F', channels] that lie wholly within them."""
        quantized, scale, zero = _unsigned(x)
        return self.product.product(windows(quantized, self._layer), scale, zero, x.dtype)


def _unsigned(x: Tensor) -> tuple[Tensor, float, int]:
    """Return activations in 8 bits, the size of a step, and the step that is zero.

    Unsigned, which is what the processor's dot products take on the left, from the lowest value to the highest: what
    comes out of GELU is hardly below zero, and gets twice the steps of a scale with zero in its middle. Half is added
    because the conversion cuts; 254 steps leave room for the rounded zero, so nothing needs clamping. By way of 32 bits
    it takes half the time, and so many rows at a time that what is between stays in the cache.
    """
    lowest, highest = (float(value) for value in torch.aminmax(x))
    scale = max(max(highest, 0.0) - min(lowest, 0.0), 1e-12) / 254
    zero = round(-min(lowest, 0.0) / scale)
    middle = torch.tensor(zero + 0.5)
    quantized = torch.empty(x.shape, dtype=torch.uint8)
    sizes = pieces(len(x), max(1, _VALUES // x.shape[-1]))
    for part, place in zip(x.split_with_sizes(sizes), quantized.split_with_sizes(sizes), strict=True):
        place.copy_(torch.add(middle, part.float(), alpha=1 / scale).to(torch.int32))
    return quantized, scale, zero


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


def _bias(layer: nn.Linear | nn.Conv1d, dtype: torch.dtype) -> Tensor | None:
    bias: Tensor | None = layer.bias  # torch's types say that it is always there
    return None if bias is None else bias.detach().to(dtype, copy=True)

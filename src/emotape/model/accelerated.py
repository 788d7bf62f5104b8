"""The same network in the forms that a graphics card runs best: matrix products of fixed size.

Three layers change their form and no layer its meaning. Strided convolutions become products without copied windows;
the first of them, whose output is the largest thing of all, is left to the elementwise kernel behind it. Grouped
convolutions become products that make several frames at once. Linear layers may run in 8 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import nn

from emotape.model.encoder import FrameConvolution, GeluLinear

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from emotape.model.encoder import FeatureExtractor, PositionEncoder

FRAMES_AT_ONCE: Final = 4  # of a grouped convolution: a window for each takes 19 times its memory, this way 5.5 times
_LARGEST_8_BIT: Final = 448.0  # of float8_e4m3fn


class StridedProducts(nn.Module):
    """The feature extractor as products of the frames as they lie in memory, some frames of its output at a time."""

    def __init__(self, extractor: FeatureExtractor, piece: int) -> None:
        super().__init__()
        self.dims = extractor.dims
        self.piece = piece
        products = [layer for layer in extractor.convolutions if isinstance(layer, FrameConvolution)]
        norms = [norm for norm in extractor.norms if isinstance(norm, nn.LayerNorm)]
        further = (_StridedProduct(*pair) for pair in zip(products[1:], norms[1:], strict=True))
        self.layers = nn.Sequential(_SummedTaps(products[0], norms[0]), *further)

    def forward(self, wave: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Map wave [S] to features [F, channels]; `features` is this module's own one, perhaps compiled."""
        make = features or self.features
        frames = self.dims.frames(len(wave))
        firsts = range(0, frames, self.piece)
        return torch.cat([make(self._part(wave, first, min(first + self.piece, frames))) for first in firsts])

    def features(self, wave: Tensor) -> Tensor:
        """Map a part of the wave to its features at once."""
        y: Tensor = self.layers(wave)
        return y

    def _part(self, wave: Tensor, first: int, stop: int) -> Tensor:
        return wave[first * self.dims.stride : (stop - 1) * self.dims.stride + self.dims.field]


class _SummedTaps(nn.Module):
    """The first convolution, with LayerNorm and GELU, in fp32 between its input and its output.

    Ten multiplications a value are no work for a matrix unit. Written as a sum of outer products, they are part of an
    elementwise kernel. So is the norm, as what it needs of a frame follows from the frame's samples: the mean over the
    channels is taken off the taps beforehand, and the variance is the squared length of the samples seen through a
    triangle R with taps = QR, which is no wider than the kernel. The values before the norm, 1 GB for 320 s in halves,
    are never in memory; a norm that reads them would have them stored.
    """

    def __init__(self, convolution: FrameConvolution, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.layer = convolution.layer
        taps = convolution.product.weight.detach().float()  # [channels, kernel]
        taps = taps - taps.mean(0)
        triangle = torch.linalg.qr(taps.cpu().double(), mode="r")[1] / len(taps) ** 0.5
        self.spread = _fixed(triangle.T.to(taps).contiguous())
        self.taps = _fixed((taps * norm.weight.float()[:, None]).T.contiguous())
        self.bias, self.eps = _fixed(norm.bias.float()), norm.eps

    def forward(self, wave: Tensor) -> Tensor:
        """Map wave [S] to frames [F, channels]."""
        windows = wave.unfold(0, self.layer.kernel, self.layer.stride).float()
        variance = _summed(windows, self.spread).square().sum(1, keepdim=True)
        x = _summed(windows, self.taps) * (variance + self.eps).rsqrt() + self.bias
        return F.gelu(x).to(wave.dtype)


def _summed(windows: Tensor, taps: Tensor) -> Tensor:
    """Return windows [F, kernel] times taps [kernel, n] as a sum of outer products."""
    x = windows[:, :1] * taps[0]
    for tap in range(1, len(taps)):
        x = x + windows[:, tap, None] * taps[tap]
    return x


class _StridedProduct(nn.Module):
    """A further convolution, with LayerNorm and GELU.

    The first `stride` frames of every window are a row of x as it lies in memory; each further frame of the window is
    a strided view of x. So nothing is copied, as windows that overlap would have to be.
    """

    def __init__(self, convolution: FrameConvolution, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.layer = convolution.layer
        self.norm = norm
        width = convolution.product.in_features // self.layer.kernel
        whole = width * self.layer.stride
        weight = convolution.product.weight  # [channels, kernel · width]
        self.row = _fixed(weight[:, :whole].contiguous())
        frames = [weight[:, first : first + width] for first in range(whole, weight.shape[1], width)]
        self.further = nn.ParameterList(_fixed(frame.contiguous()) for frame in frames)

    def forward(self, x: Tensor) -> Tensor:
        """Map frames [F, width] to the frames [F', channels] that lie wholly within them."""
        stride = self.layer.stride
        count = (len(x) - self.layer.kernel) // stride + 1
        y = x[: stride * count].view(count, -1) @ self.row.T
        for frame, weight in enumerate(self.further, start=stride):
            y = torch.addmm(y, x[frame : frame + stride * (count - 1) + 1 : stride], weight.T)
        return F.gelu(self.norm(y))


class PositionProducts(nn.Module):
    """The grouped positional convolutions as batched products, each of which makes several neighbouring frames.

    A group has too few channels (64) to fill a matrix unit, and its windows of 19 frames overlap in 18. `at_once`
    frames share one window that is a little longer, and the weight is repeated, shifted by a frame each time.
    """

    def __init__(self, positions: PositionEncoder, at_once: int) -> None:
        super().__init__()
        convolutions = [layer for layer in positions.convolutions if isinstance(layer, nn.Conv1d)]
        self.groups = convolutions[0].groups
        self.reach = convolutions[0].kernel_size[0] // 2
        self.at_once = at_once
        self.weights = nn.ParameterList(_shifted_weight(layer, at_once) for layer in convolutions)
        self.biases = nn.ParameterList(_fixed(layer.bias) for layer in convolutions)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """Map x [F, D] to positions [F, D]; frames outside clips are zeroed before each layer, as padding would be."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = self._convolved(x * keep, weight) + bias
            x = F.gelu(F.layer_norm(x, x.shape[-1:]))
        return x

    def _convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        frames, width = x.shape
        missing = -frames % self.at_once
        padded = F.pad(x, (0, 0, self.reach, self.reach + missing)).view(-1, self.groups, width // self.groups)
        windows = padded.unfold(0, self.at_once + 2 * self.reach, self.at_once).permute(1, 0, 3, 2)
        y = torch.bmm(windows.flatten(2), weight)  # [groups, windows, at_once · channels]
        apart = y.view(self.groups, -1, self.at_once, width // self.groups).permute(1, 2, 0, 3)
        return apart.reshape(-1, width)[:frames]


def _shifted_weight(layer: nn.Conv1d, at_once: int) -> nn.Parameter:
    """Return a grouped convolution's weight for `at_once` frames, [groups, window · channels, at_once · channels]."""
    kernel = layer.kernel_size[0]
    own = layer.weight.detach().view(layer.groups, -1, *layer.weight.shape[1:]).permute(0, 3, 2, 1)
    # own [groups, kernel, in, out]
    groups, _, channels, made = own.shape
    repeated = own.new_zeros(groups, kernel + at_once - 1, channels, at_once, made)
    for frame in range(at_once):
        repeated[:, frame : frame + kernel, :, frame] = own
    return _fixed(repeated.flatten(3).flatten(1, 2))


class Float8Linear(nn.Module):
    """A linear layer whose product takes 8 bits, with GELU if the original had it; it comes out in bfloat16.

    Every row of the activations and every output of the weights has a scale of its own.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.gelu = isinstance(layer, GeluLinear)
        weight, scale = _in_8_bits(layer.weight.detach())
        self.weight = _fixed(weight)
        self.scale = _fixed(scale)
        self.bias = _fixed(layer.bias.to(torch.bfloat16))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [rows, in] to [rows, out]."""
        rows, scale = _in_8_bits(x)
        y = torch._scaled_mm(  # noqa: SLF001 - torch's only product in 8 bits
            rows, self.weight.T, scale, self.scale.T, bias=self.bias, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return F.gelu(y) if self.gelu else y


def _in_8_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [n, m] in 8 bits and the scale of each [n, 1]."""
    exact = rows.float()
    scale = exact.abs().amax(1, keepdim=True).clamp_min(1e-12) / _LARGEST_8_BIT
    return (exact / scale).clamp(-_LARGEST_8_BIT, _LARGEST_8_BIT).to(torch.float8_e4m3fn), scale


def _fixed(values: Tensor | None) -> nn.Parameter:
    assert values is not None  # noqa: S101 - every layer of this network that comes here has a bias
    return nn.Parameter(values.detach(), requires_grad=False)

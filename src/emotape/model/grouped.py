"""Grouped convolutions over frames as batched products.

A group has few channels, 64 at most, which do not fill a unit for products, and its windows of 19 frames overlap in 18.
So some neighbouring frames are made at once: they share one window that is a little longer, and the weight is repeated,
shifted by a frame each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

FRAMES_AT_ONCE: Final = 4  # a window for each takes 19 times its memory, this way 5.5 times


class GroupedProduct(nn.Module):
    """A positional convolution in fp32 for a processor."""

    def __init__(self, layer: nn.Conv1d) -> None:
        super().__init__()
        self._groups = layer.groups
        self._gap = layer.kernel_size[0] - 1
        self._weight = shifted_weight(layer, FRAMES_AT_ONCE).float()
        self._bias = None if layer.bias is None else layer.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """Map frames [F + kernel - 1, D] to the frames [F, D] that have all their neighbours among them."""
        frames = len(x) - self._gap
        missing = -frames % FRAMES_AT_ONCE
        y = grouped_product(F.pad(x, (0, 0, 0, missing)) if missing else x, self._weight, self._groups)[:frames]
        return y if self._bias is None else y + self._bias


def grouped_product(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Map frames [F + kernel - 1, D] to frames [F, D]; F is a multiple of the frames that `weight` makes at once."""
    width = x.shape[1] // groups
    window, at_once = weight.shape[1] // width, weight.shape[2] // width
    windows = x.view(-1, groups, width).unfold(0, window, at_once).permute(1, 0, 3, 2)
    y = torch.bmm(windows.flatten(2), weight)  # [groups, windows, at_once · channels]
    return y.view(groups, -1, at_once, width).permute(1, 2, 0, 3).reshape(-1, x.shape[1])


def shifted_weight(layer: nn.Conv1d, at_once: int) -> Tensor:
    """Return a grouped convolution's weight for `at_once` frames, [groups, window · channels, at_once · channels]."""
    kernel = layer.kernel_size[0]
    own = layer.weight.detach().view(layer.groups, -1, *layer.weight.shape[1:]).permute(0, 3, 2, 1)
    # own [groups, kernel, in, out]
    groups, _, channels, made = own.shape
    repeated = own.new_zeros(groups, kernel + at_once - 1, channels, at_once, made)
    for frame in range(at_once):
        repeated[:, frame : frame + kernel, :, frame] = own
    return repeated.flatten(3).flatten(1, 2)

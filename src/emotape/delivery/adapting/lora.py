"""Low-rank adapters (LoRA) on the linear layers of the trained blocks, through peft, merged when training is over."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from emotape.errors import BadRequest
from emotape.model.encoder import GeluLinear

if TYPE_CHECKING:
    from torch import Tensor

    from emotape.delivery.adapting.trunk import Trunk

_LAYERS: Final = r"blocks\.\d+\.(qkv|proj|fc1\.linear|fc2)"
_DROPOUT: Final = 0.05


class Adapters(Protocol):
    """Adapters that are part of a trunk."""

    def merge(self) -> None:
        """Add what the adapters learned to the weights, and take them out of the trunk."""


class _LinearThenGelu(nn.Module):
    """A layer whose product an adapter can join before the GELU."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, nn.Linear)  # noqa: S101 - the network's own
        self.linear = nn.Linear(layer.in_features, layer.out_features, device="meta")
        self.linear.weight, self.linear.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map x [..., in] to [..., out]."""
        return F.gelu(self.linear(x))

    def whole(self) -> GeluLinear:
        """Return the layer as the network has it."""
        with torch.device("meta"):
            layer = GeluLinear(self.linear.in_features, self.linear.out_features)
        layer.weight, layer.bias = self.linear.weight, self.linear.bias
        return layer


class _PeftAdapters:
    def __init__(self, trunk: Trunk, tuner: Any) -> None:
        self._trunk = trunk
        self._tuner = tuner

    def merge(self) -> None:
        """Add what the adapters learned to the weights, and take them out of the trunk."""
        self._tuner.merge_and_unload()
        for block in self._trunk.blocks:
            layer = block.get_submodule("fc1")
            assert isinstance(layer, _LinearThenGelu)  # noqa: S101 - `add_adapters` put it there
            block.fc1 = layer.whole()


def add_adapters(trunk: Trunk, rank: int) -> Adapters:
    """Put adapters of that rank into a trunk; they and the head are all that is trained.

    Raises BadRequest "adapt_package_missing" without peft.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft's own dependencies say of each other
        try:
            from peft import LoraConfig, LoraModel
        except ImportError as error:
            raise BadRequest("adapt_package_missing", package="peft") from error
    for block in trunk.blocks:
        block.fc1 = _LinearThenGelu(block.get_submodule("fc1"))
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=_DROPOUT, target_modules=_LAYERS)
    tuner = LoraModel(trunk, config, "default")
    trunk.head.requires_grad_(requires_grad=True)
    return _PeftAdapters(trunk, tuner)

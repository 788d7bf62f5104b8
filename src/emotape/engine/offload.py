"""Weights that stay in the machine's memory: a block without room on the device has them brought there for each tape.

The means is torch's own: `functional_call` runs a module on other tensors than its own, here on copies that the device
lets go of as soon as the block is done. The arithmetic is the same, and so are the results, to the last bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call

if TYPE_CHECKING:
    from torch import Tensor

    from emotape.model.encoder import Encoder


class HostBlock(nn.Module):
    """A block that runs where its input lies, on weights that stay in the machine's memory.

    With `pinned` they lie in pages that a GPU copies from by itself, while the processor goes on.
    """

    def __init__(self, block: nn.Module, *, pinned: bool) -> None:
        super().__init__()
        self._home = (block,)  # in a tuple it is no submodule, so moving the network leaves its weights where they are
        for value in block.parameters():
            # A copy lets go of the file, which the machine may drop from memory and would then read on every tape.
            value.data = torch.empty(value.shape, dtype=value.dtype, pin_memory=pinned).copy_(value)

    def forward(self, x: Tensor, *others: Any) -> Tensor:
        """Map what the block maps; see `Block.forward`."""
        block = self._home[0]
        brought = {name: value.to(x.device, non_blocking=True) for name, value in block.named_parameters()}
        y: Tensor = functional_call(block, brought, (x, *others))
        return y


def offload(encoder: Encoder, blocks: int, device: str) -> Encoder:
    """Keep the weights of the last `blocks` blocks in the machine's memory when `encoder` is moved to `device`.

    `encoder` is changed and returned; it must be on the CPU still, and not packed.
    """
    pinned = torch.device(device).type == "cuda"
    for index in range(len(encoder.blocks) - blocks, len(encoder.blocks)):
        encoder.blocks[index] = HostBlock(encoder.blocks[index], pinned=pinned)
    return encoder

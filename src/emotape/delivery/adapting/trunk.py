"""The part of the network that is trained: its last blocks and the head, on batches of clips without padding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from emotape.model.attention import distances
from emotape.model.encoder import classified, make_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from emotape.delivery.adapting.heads import Head
    from emotape.model.encoder import Encoder

_DROPOUT: Final = 0.1
_LARGE: Final = 20_000_000  # parameters in the blocks; from here on activations are made anew instead of kept


class ClipwiseAttention:
    """Attention within each clip of a batch, all heads at once, with gradients."""

    def __init__(self, lengths: Sequence[int], extra_tokens: int, slopes: Tensor) -> None:
        """`lengths`: tokens of each clip, extra tokens included; `slopes` [heads]: slope times scale."""
        self._lengths = list(lengths)
        apart = {tokens: distances(0, tokens, tokens, extra_tokens, slopes) for tokens in set(lengths)}
        self._bias = {tokens: -slopes[:, None, None] * values for tokens, values in apart.items()}

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map query, key and value [tokens, heads, head_dim] to [tokens, heads, head_dim]."""
        clips = zip(*(part.split_with_sizes(self._lengths) for part in (query, key, value)), strict=True)
        return torch.cat([self._attended(*clip) for clip in clips])

    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        bias = self._bias[len(query)].to(query.dtype)
        query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])[0].transpose(0, 1)


class Trunk(nn.Module):
    """Tokens that enter block `first` → logits. The encoder's own blocks, on copies of their weights."""

    slopes: Tensor

    def __init__(self, encoder: Encoder, first: int, head: Head) -> None:
        super().__init__()
        self.network_parameters = encoder.dims.parameters  # of the whole network, however few blocks are its own
        dims = replace(encoder.dims, classes=len(head.bias), head_hidden=head.width)
        self.extra_tokens = dims.extra_tokens
        self.blocks = nn.ModuleList(encoder.blocks[first:])
        for values in self.blocks.parameters():
            values.data = values.data.float().clone()
        made = make_head(dims)
        assert made is not None  # noqa: S101 - there are classes
        self.head = made
        self.head.load_state_dict({name: torch.from_numpy(values.copy()) for name, values in head.state.items()})
        self.register_buffer("slopes", encoder.head_slopes().detach().clone())
        self.again = sum(values.numel() for values in self.blocks.parameters()) > _LARGE

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Map the tokens of clips [ΣN, D], `lengths` of each, to logits [clips, C]."""
        attend = ClipwiseAttention(lengths, self.extra_tokens, self.slopes)
        x = tokens
        for block in self.blocks:
            x = checkpoint(block, x, attend, use_reentrant=False) if self.again and self.training else block(x, attend)
        means = [clip[self.extra_tokens :].float().mean(0) for clip in x.split_with_sizes(list(lengths))]
        with torch.autocast(tokens.device.type, enabled=False):  # the head, and so the loss, is in fp32
            return classified(self.head, F.dropout(torch.stack(means), _DROPOUT, self.training))

"""Attention on a tape of fixed size, in one kernel that makes clip limits and ALiBi's bias as it goes.

torch's FlexAttention is given two small functions instead of tensors: which pairs may see each other, and what is
added to a score. Neither the mask nor the bias of N × N tokens is ever in memory. Which blocks of keys a block of
queries has to look at follows from where clips begin and end, and is worked out on the processor beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

if TYPE_CHECKING:
    from torch import Tensor

_MATRIX_UNITS: Final = (8, 0)  # the compute capability from which on Triton multiplies halves in matrix units


class DocumentAttention:
    """Attend within each clip of a tape, all clips in one kernel.

    It reads the tensors that it was made with at each call, so that the next tape of the same size only has to be
    copied into them.
    """

    def __init__(
        self, starts: Tensor, table: tuple[Tensor, Tensor, Tensor, Tensor], slopes: Tensor, extra_tokens: int
    ) -> None:
        """Take `starts` [N]: the first token of each token's clip; `table`: as in BlockTable; `slopes` [heads]."""
        self._extra = extra_tokens
        self._starts = starts
        self._slopes = slopes
        partial_count, partial, full_count, full = (part[None, None] for part in table)
        tokens = len(starts)
        self._block = tokens // partial.shape[-1]
        self._units = not starts.is_cuda or torch.cuda.get_device_capability(starts.device) >= _MATRIX_UNITS
        self._mask = BlockMask.from_kv_blocks(
            partial_count,
            partial,
            full_count,
            full,
            BLOCK_SIZE=self._block,
            mask_mod=self._same_clip,
            seq_lengths=(tokens, tokens),
        )

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Map query, key and value [N, heads, head_dim] to [N, heads, head_dim]."""
        laid: Any = [part.transpose(0, 1)[None] for part in (query, key, value)]
        # Never with ROWS_GUARANTEED_SAFE: every token sees itself, but one whose clip begins within a block of queries
        # sees nothing of the first block of keys, and what the kernel has then would be −∞ less −∞, which is no number.
        options: Any = self._tile(query.dtype)
        more: Any = {"score_mod": self._biased, "block_mask": self._mask, "kernel_options": options}
        attended: Tensor = flex_attention(*laid, **more)[0].transpose(0, 1)
        return attended

    def _tile(self, dtype: torch.dtype) -> dict[str, int]:
        """Return how many queries and keys the kernel takes at a time, and in how many warps.

        What torch chooses for plainer functions leaves too few registers for these: for compute capability 9.0 a thread
        then keeps 0.6 KB in memory with halves and 9 KB with fp32, where products are no work for matrix units.
        """
        queries, keys, warps = (128, 64, 4) if self._units and dtype != torch.float32 else (64, 32, 8)
        return {"BLOCK_M": min(queries, self._block), "BLOCK_N": min(keys, self._block), "num_warps": warps}

    def _same_clip(self, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        del batch, head
        return self._starts[query] == self._starts[key]

    def _biased(self, score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Add ALiBi's bias. Within a clip tokens lie side by side: their distance is that of their places."""
        del batch
        frames = (query - self._starts[query] >= self._extra) & (key - self._starts[key] >= self._extra)
        return score - self._slopes[head] * torch.where(frames, (query - key).abs(), 0)

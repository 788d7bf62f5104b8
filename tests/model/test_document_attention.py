"""Attention in one kernel is the attention clip by clip, and its memory grows with the tape, not with its square."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotape.model.attention import ClipAttention, alibi_slopes
from emotape.model.block_table import block_table, clip_bounds
from emotape.model.document_attention import DocumentAttention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

EXTRA = 10
HEADS = 4
TOKENS = 256
BLOCK = 32
lengths_of_clips = st.lists(st.integers(EXTRA + 1, 120), min_size=1, max_size=8).filter(
    lambda found: sum(found) <= TOKENS
)


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch run its attention operation by operation, which it otherwise warns of: compiled, it is one kernel."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


def attention(lengths: Sequence[int], tokens: int = TOKENS, block: int = BLOCK) -> DocumentAttention:
    starts, stops = clip_bounds(lengths, tokens, block)
    table = block_table(starts, stops, block)
    parts = (table.partial_count, table.partial, table.full_count, table.full)
    return DocumentAttention(torch.from_numpy(starts), _tensors(parts), torch.tensor(alibi_slopes(HEADS)), EXTRA)


def _tensors(parts: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    one, two, three, four = map(torch.from_numpy, parts)
    return one, two, three, four


def queries(tokens: int = TOKENS) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(tokens)
    return torch.randn(tokens, HEADS, 16), torch.randn(tokens, HEADS, 16), torch.randn(tokens, HEADS, 16)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths_of_clips)
def test_it_equals_attention_clip_by_clip(lengths: list[int]) -> None:
    """Limits of clips, ALiBi and the extra tokens' exemption from it; what is left of the tape gets numbers, too."""
    used = sum(lengths)
    query, key, value = queries()
    with torch.inference_mode():
        found = attention(lengths)(query, key, value)
        clips = ClipAttention(lengths, EXTRA, torch.tensor(alibi_slopes(HEADS)))
        wanted = clips(query[:used], key[:used], value[:used])
    torch.testing.assert_close(found[:used], wanted, rtol=1e-5, atol=1e-5)
    assert torch.isfinite(found).all()


@given(lengths_of_clips, st.sampled_from([16, 32, 64, 128, 256]))
def test_the_block_table_is_the_mask_in_blocks(lengths: list[int], block: int) -> None:
    """A block is listed if any of its pairs see each other, and as full if all do: no pair is lost, none is added."""
    starts, stops = clip_bounds(lengths, TOKENS, block)
    table = block_table(starts, stops, block)
    visible = (starts[:, None] == starts[None]).reshape(TOKENS // block, block, TOKENS // block, block)
    some, every = visible.any((1, 3)), visible.all((1, 3))
    assert np.array_equal(_chosen(table.full_count, table.full), every)
    assert np.array_equal(_chosen(table.partial_count, table.partial), some & ~every)


def _chosen(count: Any, columns: Any) -> Any:
    chosen = np.zeros(columns.shape, bool)
    for row, listed in enumerate(count):
        assert sorted(columns[row, :listed]) == list(columns[row, :listed])
        chosen[row, columns[row, :listed]] = True
    return chosen


def test_the_kernel_is_not_promised_that_every_row_sees_a_key_of_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip that begins within a block of queries sees nothing of the first block of keys that those look at."""
    starts, stops = clip_bounds([100, 150], TOKENS, BLOCK)
    table = block_table(starts, stops, BLOCK)
    queries_of_both = 100 // BLOCK
    first_keys = table.partial[queries_of_both, 0]
    assert table.partial_count[queries_of_both] > 0
    assert (first_keys + 1) * BLOCK <= starts[100], "the second clip sees one of them: say which case is meant here"
    options: dict[str, Any] = {}

    def look(query: Tensor, *_: Tensor, **given: Any) -> Tensor:
        options.update(given.get("kernel_options") or {})
        return query

    monkeypatch.setattr("emotape.model.document_attention.flex_attention", look)
    attention([100, 150])(*queries())
    assert not options.get("ROWS_GUARANTEED_SAFE", False)


@pytest.mark.parametrize("block", [16, 32, 128])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_kernels_tile_divides_the_blocks_of_the_table(
    block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch refuses any other; and fp32, whose products are no work for matrix units, has the smaller tile."""
    found: list[dict[str, int]] = []

    def look(query: Tensor, *_: Tensor, kernel_options: dict[str, int], **__: Any) -> Tensor:
        found.append(kernel_options)
        return query

    monkeypatch.setattr("emotape.model.document_attention.flex_attention", look)
    query, key, value = (part.to(dtype) for part in queries())
    attention([100, 150], block=block)(query, key, value)
    (tile,) = found
    assert block % tile["BLOCK_M"] == 0
    assert block % tile["BLOCK_N"] == 0
    assert tile["BLOCK_M"] * tile["BLOCK_N"] <= (64 * 32 if dtype == torch.float32 else 128 * 64)


@given(lengths_of_clips)
def test_bounds_are_the_clips_and_small_rests(lengths: list[int]) -> None:
    """Every clip's tokens name its own begin and end; beyond them, no group is longer than a block."""
    starts, stops = clip_bounds(lengths, TOKENS, BLOCK)
    begin = 0
    for length in lengths:
        assert set(starts[begin : begin + length]) == {begin}
        assert set(stops[begin : begin + length]) == {begin + length}
        begin += length
    assert (starts[begin:] >= begin).all()
    assert ((stops - starts)[begin:] <= BLOCK).all()
    assert (starts <= np.arange(TOKENS)).all()
    assert (np.arange(TOKENS) < stops).all()


def test_the_tensors_are_read_at_each_call() -> None:
    """The next tape only has to be copied into them: nothing of the one before remains."""
    starts, stops = clip_bounds([100, 150], TOKENS, BLOCK)
    table = block_table(starts, stops, BLOCK)
    tensors = _tensors((table.partial_count, table.partial, table.full_count, table.full))
    mine = torch.from_numpy(starts)
    attend = DocumentAttention(mine, tensors, torch.tensor(alibi_slopes(HEADS)), EXTRA)
    others, ends = clip_bounds([30, 90, 40], TOKENS, BLOCK)
    other = block_table(others, ends, BLOCK)
    mine.copy_(torch.from_numpy(others))
    for tensor, values in zip(tensors, (other.partial_count, other.partial, other.full_count, other.full), strict=True):
        tensor.copy_(torch.from_numpy(values))
    with torch.inference_mode():
        torch.testing.assert_close(attend(*queries()), attention([30, 90, 40])(*queries()))


@pytest.mark.parametrize("tokens", [2_048, 4_096])
def test_no_tensor_of_the_compiled_form_grows_with_the_square_of_the_tape(tokens: int) -> None:
    """What torch compiles for a device holds no bias and no mask of N × N: they are functions inside the kernel.

    Traced, not run: torch's own operation-by-operation form, which the other tests use, does make the scores.
    """
    sizes: list[int] = []

    def look(graph: torch.fx.GraphModule, _: Any) -> Any:
        sizes.extend(
            value.numel()
            for node in graph.graph.nodes
            if isinstance(value := node.meta.get("example_value"), torch.Tensor)
        )
        return lambda query, *_: (query,)

    torch.compile(attention([900, 1_000], tokens, 128), backend=look, fullgraph=True, dynamic=False)(*queries(tokens))
    assert sizes
    assert max(sizes) <= tokens * HEADS * 16

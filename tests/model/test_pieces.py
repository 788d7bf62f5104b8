"""Recordings of any length make products of few sizes, so a processor's library keeps few kernels in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotape.engine.runner import Clip, TorchRunner
from emotape.engine.tape import collate, lay
from emotape.model import packed
from emotape.model.encoder import FrameConvolution, windows
from emotape.model.pieces import ROWS_IN_CACHE, Pieces, by_rows, pieces, rounded, whole
from emotape.model.weights import load
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from emotape.audio.waveform import Waveform

SIZES = {ROWS_IN_CACHE, *range(4, 129, 4), *range(136, 256, 8)}


@given(st.integers(1, 20_000))
def test_every_tape_is_made_of_the_same_few_sizes(rows: int) -> None:
    """At most seven rows are added, and the pieces of what comes out have one of 48 sizes."""
    long = rounded(rows, ROWS_IN_CACHE)
    assert rows <= long <= rows + 7
    assert sum(pieces(long, ROWS_IN_CACHE)) == long
    assert set(pieces(long, ROWS_IN_CACHE)) <= SIZES
    assert len(SIZES) == 48


@given(st.integers(1, 2_000), st.integers(1, 400), st.integers(1, 9))
def test_pieces_add_up(rows: int, longest: int, threads: int) -> None:
    """Nothing is lost and nothing is empty."""
    sizes = pieces(rows, longest, threads)
    assert sum(sizes) == rows
    assert all(0 < size <= longest for size in sizes)


@given(st.integers(1, 20_000), st.integers(2, 9))
def test_threads_that_share_a_tape_get_a_few_sizes_more(rows: int, threads: int) -> None:
    """All but the last piece are a multiple of eight long, and that one of four."""
    *others, last = pieces(rounded(rows, ROWS_IN_CACHE), ROWS_IN_CACHE, threads)
    assert all(size % 8 == 0 for size in others)
    assert last % 4 == 0


@given(st.integers(64, 20_000), st.integers(2, 9))
def test_threads_get_as_many_pieces_each_where_that_is_worth_their_while(rows: int, threads: int) -> None:
    """No thread waits for a piece much longer than its own: the longest and the mean differ by one step."""
    sizes = pieces(rows, ROWS_IN_CACHE, threads)
    enough = rows // 32
    assert len(sizes) >= min(threads, enough // 2)
    assert max(sizes) <= max(sum(sizes) / min(-(-rows // ROWS_IN_CACHE // threads) * threads, enough) + 8, 8)


def test_by_rows_equals_all_at_once() -> None:
    """A function of rows does not see the pieces."""
    x, y = torch.arange(12.0).reshape(6, 2), torch.ones(6, 2)
    torch.testing.assert_close(by_rows(torch.add, Pieces([4, 2]), x, y), torch.add(x, y))


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_products_of_any_clips_have_few_row_counts(
    arithmetic: str, noise: Waveform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law behind flat memory: forty clips and tapes of random lengths bring no size that is not in the set."""
    monkeypatch.setattr(packed, "LARGE", 0)
    runner = TorchRunner(load(GOLDEN / "large_like", None), arithmetic=arithmetic)  # type: ignore[arg-type]
    seen: set[int] = set()

    def note(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, (packed.PackedLinear, packed.PackedConvolution)):
            kernel = 18 if isinstance(module, packed.PackedConvolution) else 0
            seen.add(len(arguments[0]) - kernel)

    encoder = runner._encoder
    for block in [*encoder.blocks, encoder.positions, encoder.feature_proj]:
        for module in block.modules():
            module.register_forward_pre_hook(note)
    random = np.random.default_rng(5)
    for _ in range(40):
        runner.run([Clip(noise.part(0, int(length))) for length in random.integers(400, 60_000, random.integers(1, 4))])
    assert len(seen) > 10
    assert seen <= SIZES


def test_a_whole_tape_only_grows_at_its_end(noise: Waveform) -> None:
    """What is added belongs to no clip: zeros, frames that are not kept, and repeated tokens."""
    model = load(GOLDEN / "large_like")
    clips = [noise.part(0, 9_999), noise.part(50, 5_000)]
    layout = lay([len(clip) for clip in clips], model.dims)
    tape = collate(clips, layout, model.dims)
    longer = whole(tape, model.dims)
    for name in ("wave", "keep", "tokens"):
        before, after = getattr(tape, name), getattr(longer, name)
        assert torch.equal(after[: len(before)], before)
        assert not after[len(before) :].any()
    assert model.dims.frames(len(longer.wave)) == len(longer.keep) == rounded(layout.frames, ROWS_IN_CACHE)
    assert len(longer.tokens) == rounded(layout.tokens, ROWS_IN_CACHE)


def test_a_strided_convolution_quantises_before_its_windows_and_gives_the_same() -> None:
    """Int8 frames, then windows, equals windows, then int8: both have one scale for the whole call."""
    torch.manual_seed(3)
    from emotape.model.dims import Convolution

    layer = FrameConvolution(96, Convolution(32, 3, 2))
    x = torch.randn(41, 96)
    with torch.inference_mode():
        found = packed.Int8FrameConvolution(layer)(x)
        wanted = packed.Int8Linear(layer.product)(windows(x, layer.layer))
    torch.testing.assert_close(found, wanted)

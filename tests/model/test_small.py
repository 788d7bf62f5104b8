"""A small network in fp32 takes other forms of its layers: the same network, and no kernel made for a shape."""

from __future__ import annotations

from resource import RUSAGE_THREAD, getrusage
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from emotape.engine.runner import Clip, ClipScores, TorchRunner
from emotape.model import packed, pieces
from emotape.model.dims import Convolution
from emotape.model.encoder import FrameConvolution, GeluLinear, PositionConvolution
from emotape.model.grouped import GroupedProduct
from emotape.model.pieces import ROWS_IN_CACHE, gelu_
from emotape.model.small import TransposedLinear
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from emotape.audio.waveform import Waveform

NETWORKS = ("large_like", "base_like", "embedding_only")


@pytest.fixture(autouse=True)
def _the_same_numbers() -> None:
    torch.manual_seed(7)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("layer", [nn.Linear(48, 32), nn.Linear(48, 32, bias=False), GeluLinear(48, 32)])
def test_a_transposed_layer_is_that_layer(layer: nn.Linear, dtype: torch.dtype) -> None:
    """In fp32 whatever the weights lie in, with bias and GELU if it has them."""
    stored, x = layer.to(dtype), torch.randn(13, 48)
    found = TransposedLinear(stored)(x)
    torch.testing.assert_close(found, stored.float()(x), rtol=1e-5, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("frames", [1, 3, 4, 50])
@pytest.mark.parametrize(("width", "groups", "kernel"), [(24, 2, 19), (12, 12, 3), (8, 1, 5)])
def test_a_grouped_product_is_that_convolution(frames: int, width: int, groups: int, kernel: int) -> None:
    """Any count of frames, also one that is no multiple of those made at once."""
    layer, x = PositionConvolution(width, width, kernel, groups=groups), torch.randn(frames + kernel - 1, width)
    torch.testing.assert_close(GroupedProduct(layer)(x), layer(x), rtol=1e-5, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("layer", [nn.Linear(48, 32), GeluLinear(48, 32)])
def test_a_whole_piece_and_any_other_get_the_same(layer: nn.Linear) -> None:
    """Rows do not depend on which of a layer's two forms they meet."""
    piecewise, x = packed._small(layer, torch.empty(48 * 32)), torch.randn(ROWS_IN_CACHE, 48)
    whole, other = piecewise(x), piecewise(x[:-1])
    torch.testing.assert_close(whole, layer(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other, whole[:-1], rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_a_strided_convolution_keeps_its_windows() -> None:
    layer, x = FrameConvolution(16, Convolution(24, 3, 2)), torch.randn(41, 16)
    wanted = layer(x)
    torch.testing.assert_close(packed._small(layer, torch.empty(0))(x), wanted, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_gelu_in_place_is_gelu(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On either side of the size from which on it is left to oneDNN, and in the same memory."""
    monkeypatch.setattr(pieces, "_ANY_SHAPE", 100 * 16)
    x = torch.randn(rows, 16) * 3
    wanted = F.gelu(x)
    assert gelu_(x) is x
    torch.testing.assert_close(x, wanted, rtol=1e-5, atol=1e-6)


def _assert_same(found: ClipScores, wanted: ClipScores) -> None:
    assert found.frame_embeddings is not None
    assert wanted.frame_embeddings is not None
    apart = np.abs(found.frame_embeddings - wanted.frame_embeddings).max()
    assert apart <= 1e-5 * np.abs(wanted.frame_embeddings).max()


@pytest.mark.parametrize("network", NETWORKS)
def test_a_small_network_equals_the_plain_one_alone_and_together(network: str, noise: Waveform) -> None:
    """The reference law and the batch law hold for the way that small networks run."""
    plain, small = TorchRunner(load(GOLDEN / network)), TorchRunner(load(GOLDEN / network), arithmetic="float32")
    parts = ((100, 30_000), (0, 400), (0, 64_000), (9, 7_777))  # together more tokens than one piece
    clips = [Clip(noise.part(start, stop), frame_embeddings=True) for start, stop in parts]
    for clip, together in zip(clips, small.run(clips), strict=True):
        (wanted,), (alone,) = plain.run([clip]), small.run([clip])
        _assert_same(together, wanted)
        _assert_same(alone, wanted)


def test_a_small_network_runs_where_torch_has_no_onednn(noise: Waveform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as on some notebooks: the same answers, by the BLAS alone."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    runner, clip = TorchRunner(load(GOLDEN / "base_like"), arithmetic="float32"), Clip(noise, frame_embeddings=True)
    assert not any(isinstance(module, packed.PackedLinear) for module in runner._encoder.modules())
    _assert_same(runner.run([clip])[0], TorchRunner(load(GOLDEN / "base_like")).run([clip])[0])


def test_no_kernel_is_made_for_a_length(noise: Waveform, capfd: pytest.CaptureFixture[str]) -> None:
    """Short clips do without oneDNN, which tells what it runs; long ones of any length need the same few products."""
    runner = TorchRunner(load(GOLDEN / "base_like"), arithmetic="float32")
    short = _kernels(runner, [Clip(noise.part(0, 12_345))], capfd)
    long, longer = (_kernels(runner, [Clip(noise), Clip(noise.part(0, length))], capfd) for length in (33_333, 54_321))
    assert not short
    assert long == longer
    assert len(long) == 5  # the features' projection, and the four of a block


def _kernels(runner: TorchRunner, clips: list[Clip], capfd: pytest.CaptureFixture[str]) -> set[str]:
    """Return the shapes of what oneDNN runs for a tape, in its own words."""
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):  # type: ignore[no-untyped-call]
        runner.run(clips)
    told = [line.split(",") for line in capfd.readouterr().out.splitlines() if "onednn_verbose" in line]
    return {fields[-2] for fields in told if "exec" in fields}


def test_a_tape_that_ran_before_asks_the_system_for_no_memory(noise: Waveform) -> None:
    """What it frees is kept for the next one: pages come back full, not one by one from the system."""
    runner, clip = TorchRunner(load(bundled_model().path), arithmetic="float32"), Clip(noise)
    asked = []
    for _ in range(9):
        before = getrusage(RUSAGE_THREAD).ru_minflt
        runner.run([clip])
        asked.append(getrusage(RUSAGE_THREAD).ru_minflt - before)
    assert median(asked) < 32  # pages; now and then the interpreter itself asks for a megabyte

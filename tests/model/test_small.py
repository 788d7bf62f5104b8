"""A small network in fp32 takes other forms of its layers: the same network, and no kernel made for a shape."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from emotape.engine.runner import Clip, ClipScores, TorchRunner
from emotape.model import packed, pieces
from emotape.model.dims import Convolution
from emotape.model.encoder import FrameConvolution, GeluLinear
from emotape.model.pieces import gelu_
from emotape.model.small import TransposedLinear
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from emotape.audio.waveform import Waveform

_HELD_AGAIN = """
from resource import RUSAGE_THREAD, getrusage

import torch

from emotape.engine.runner import TorchRunner
from emotape.model.weights import load
from emotape.store.catalogue import bundled_model

runner = TorchRunner(load(bundled_model().path), arithmetic="float32")
for _ in range(4):
    before = getrusage(RUSAGE_THREAD).ru_minflt
    torch.ones(8_000_000, dtype=torch.uint8)
    print(getrusage(RUSAGE_THREAD).ru_minflt - before)
"""

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
def test_a_strided_convolution_keeps_its_windows() -> None:
    layer, x = FrameConvolution(16, Convolution(24, 3, 2)), torch.randn(41, 16)
    wanted = layer(x)
    torch.testing.assert_close(packed._small(layer)(x), wanted, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("wide", [16, 17])
def test_gelu_in_place_is_gelu(rows: int, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On either side of the width from which on it is left to oneDNN, and in the same memory."""
    monkeypatch.setattr(pieces, "_WIDE", wide)
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


def test_of_the_bundled_model_a_clip_gets_the_same_answer_to_the_last_bit_alone_and_on_a_tape(noise: Waveform) -> None:
    """Whatever lies beside it, and however many rows that makes."""
    runner = TorchRunner(load(bundled_model().path), arithmetic="float32")
    clips = [Clip(noise.part(start, start + length)) for start, length in ((9, 700), (5_000, 24_000), (0, 48_000))]
    for clip, together in zip([*clips, *clips[::-1]], runner.run([*clips, *clips[::-1]]), strict=True):
        (alone,) = runner.run([clip])
        np.testing.assert_array_equal(together.embedding, alone.embedding)
        np.testing.assert_array_equal(together.frame_logits, alone.frame_logits)


def test_what_a_tape_frees_is_kept_for_the_next_one() -> None:
    """Pages come back full, not empty and one by one from the system. In a process whose heap nobody has used.

    Not always for the second time: where loading left much that was free, the system is given that back once.
    """
    found = subprocess.run([sys.executable, "-c", _HELD_AGAIN], capture_output=True, text=True, check=True)
    first, *_, last = map(int, found.stdout.split())
    assert last < first / 10

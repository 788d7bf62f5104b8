"""Packed layers are the same network: fp32 to rounding, bf16 and int8 within what their arithmetic allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import yaml

from emotape.engine.runner import Clip, TorchRunner
from emotape.model.dims import Dims, read_dims
from emotape.model.encoder import Encoder, GeluLinear
from emotape.model.packed import Int8Linear, PackedLinear, pack
from emotape.model.small import TransposedLinear
from emotape.model.weights import LoadedModel, load
from tests.conftest import GOLDEN
from tests.golden.layout import config

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.audio.waveform import Waveform


@pytest.fixture(scope="module")
def dims(tmp_path_factory: pytest.TempPathFactory) -> Dims:
    """A network wide enough that every layer but the first convolution is packed in int8."""
    path: Path = tmp_path_factory.mktemp("dims") / "config.yaml"
    path.write_text(yaml.safe_dump(config(embed_dim=128, heads=4, prenet=1, depth=2, channels=64)))
    return read_dims(path, classes=9)


@pytest.fixture(autouse=True)
def _small_networks_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of a test's size would otherwise stay as they are in fp32."""
    monkeypatch.setattr("emotape.model.packed.LARGE", 0)


def network(dims: Dims, dtype: torch.dtype) -> LoadedModel:
    """The same random weights in any dtype."""
    torch.manual_seed(11)
    return LoadedModel(Encoder(dims).eval().requires_grad_(requires_grad=False).to(dtype), (), "random weights")


@pytest.mark.parametrize(
    ("arithmetic", "dtype", "bound"),
    [("float32", torch.float32, 1e-5), ("bfloat16", torch.bfloat16, 2e-2), ("int8", torch.bfloat16, 8e-2)],
)
def test_packed_is_the_same_network(
    dims: Dims, noise: Waveform, arithmetic: str, dtype: torch.dtype, bound: float
) -> None:
    """Two clips on a tape: every frame's embedding, relative to the plain fp32 network's."""
    clips = [Clip(noise.part(0, 20_000), frame_embeddings=True), Clip(noise.part(9_000, 15_000), frame_embeddings=True)]
    plain = TorchRunner(network(dims, torch.float32)).run(clips)
    packed = TorchRunner(network(dims, dtype), arithmetic=arithmetic).run(clips)  # type: ignore[arg-type]
    for found, wanted in zip(packed, plain, strict=True):
        assert found.frame_embeddings is not None
        assert wanted.frame_embeddings is not None
        apart = np.linalg.norm(found.frame_embeddings - wanted.frame_embeddings)
        assert apart <= bound * np.linalg.norm(wanted.frame_embeddings)


def test_every_layer_but_the_head_is_packed(dims: Dims) -> None:
    """Nothing is forgotten, and the head stays exact."""
    encoder = pack(network(dims, torch.bfloat16).encoder, "int8")
    kinds = [type(module) for module in encoder.modules()]
    assert not any(kind is GeluLinear for kind in kinds)
    assert [module for module in encoder.modules() if type(module) is torch.nn.Linear] == [encoder.head]
    assert kinds.count(PackedLinear) == 2  # the first convolution, which sees ten samples, and the projection of 64
    assert kinds.count(Int8Linear) == 6 + 3 * 4


@pytest.mark.parametrize("name", ["large_like", "base_like", "embedding_only"])
def test_packed_fp32_equals_the_plain_network_on_golden_weights(name: str, noise: Waveform) -> None:
    """The reference law holds for the way that processors run it, too."""
    clip = Clip(noise.part(100, 30_000), frame_embeddings=True)
    (wanted,) = TorchRunner(load(GOLDEN / name)).run([clip])
    (found,) = TorchRunner(load(GOLDEN / name), arithmetic="float32").run([clip])
    assert found.frame_embeddings is not None
    assert wanted.frame_embeddings is not None
    apart = np.abs(found.frame_embeddings - wanted.frame_embeddings).max()
    assert apart <= 1e-5 * np.abs(wanted.frame_embeddings).max()


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
def test_int8_takes_any_scale_of_activations(scale: float) -> None:
    """Silence, whispers and shouting: the error follows the scale, and zero stays zero."""
    torch.manual_seed(1)
    layer = torch.nn.Linear(96, 32, bias=False)
    x = torch.randn(7, 96) * scale
    with torch.inference_mode():
        wanted, found = layer(x), Int8Linear(layer)(x)
    assert torch.isfinite(found).all()
    assert (found - wanted).abs().max() <= 0.03 * scale * np.sqrt(96)


def test_a_layer_s_own_bias_and_gelu_are_kept() -> None:
    """Fused GELU is the exact one, not the approximation by tanh."""
    torch.manual_seed(2)
    layer = GeluLinear(96, 32)
    x = torch.randn(5, 96)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(layer, torch.empty(96 * 32))(x), layer(x), rtol=1e-5, atol=1e-6)


def test_a_small_network_in_fp32_is_not_packed_but_transposed(dims: Dims, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed layers would make and keep a kernel for every shape; `test_small.py` has what is gained instead."""
    monkeypatch.undo()
    encoder = pack(network(dims, torch.float16).encoder, "float32")
    kinds = [type(module) for module in encoder.modules()]
    assert PackedLinear not in kinds
    assert kinds.count(TransposedLinear) == 7 + 1 + 3 * 4  # the convolutions, the projection, and three blocks
    assert {values.dtype for values in encoder.parameters()} == {torch.float32}


def test_the_count_of_parameters_is_right(dims: Dims) -> None:
    """The plan decides by it without building the network."""
    for counted in (dims, read_dims(GOLDEN / "base_like" / "config.yaml", classes=0)):
        encoder = Encoder(counted)
        head = sum(values.numel() for values in encoder.head.parameters()) if encoder.head else 0
        assert counted.parameters == sum(values.numel() for values in encoder.parameters()) - head

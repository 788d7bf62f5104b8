"""The forms for graphics cards are the same layers: nothing but rounding tells them from the network's own page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import yaml
from torch import nn

from emotape.model.accelerated import Float8Linear, PositionProducts, StridedProducts
from emotape.model.dims import Convolution, Dims, read_dims
from emotape.model.encoder import FeatureExtractor, GeluLinear, PositionEncoder
from tests.golden.layout import config

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SPECS = [
    (Convolution(32, 10, 5), *[Convolution(32, 3, 2)] * 4, *[Convolution(32, 2, 2)] * 2),
    (Convolution(16, 10, 5), Convolution(24, 8, 4), Convolution(16, 4, 2), Convolution(16, 1, 1)),
]


@pytest.fixture(scope="module")
def dims(tmp_path_factory: pytest.TempPathFactory) -> Dims:
    path: Path = tmp_path_factory.mktemp("dims") / "config.yaml"
    path.write_text(yaml.safe_dump(config(embed_dim=64, heads=4, prenet=1, depth=1, channels=32)))
    return read_dims(path, classes=9)


def apart(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).norm() / wanted.norm())


def randomised(module: nn.Module) -> nn.Module:
    """A norm that scales and shifts each channel differently, so that none is forgotten."""
    for name, values in module.named_parameters():
        if "norm" in name:
            nn.init.normal_(values, mean=1.0, std=0.3)
    return module.eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("piece", [1, 7, 50, 1_000])
def test_strided_products_are_the_extractor(dims: Dims, spec: tuple[Convolution, ...], piece: int) -> None:
    """Any kernel and stride, in pieces of any size."""
    torch.manual_seed(3)
    dims = Dims(**{**vars(dims), "convolutions": spec})
    extractor = FeatureExtractor(dims)
    randomised(extractor)
    wave = torch.randn(dims.stride * 52 + dims.field + 3)
    with torch.inference_mode():
        assert apart(StridedProducts(extractor, piece)(wave), extractor(wave)) <= 2e-6


@pytest.mark.parametrize("frames", [1, 2, 19, 64, 65])
@pytest.mark.parametrize("at_once", [1, 3, 4, 8])
def test_position_products_are_the_positions(dims: Dims, frames: int, at_once: int) -> None:
    """Also where the frames are no multiple of those made at once, and where some are gaps."""
    torch.manual_seed(4)
    positions = PositionEncoder(dims)
    randomised(positions)
    x, keep = torch.randn(frames, dims.embed_dim), (torch.rand(frames, 1) > 0.3).float()
    with torch.inference_mode():
        assert apart(PositionProducts(positions, at_once)(x, keep), positions(x, keep)) <= 2e-6


@pytest.mark.parametrize("kind", [nn.Linear, GeluLinear])
def test_a_layer_in_8_bits_is_that_layer_to_three_bits_of_mantissa(kind: type[nn.Linear]) -> None:
    """Rows a million times as large as others have a scale of their own, and so have outputs."""
    torch.manual_seed(5)
    layer = kind(128, 64).requires_grad_(requires_grad=False)
    layer.weight[:32] *= 1e-3
    x = torch.randn(48, 128) * torch.logspace(-3, 3, 48)[:, None]
    with torch.inference_mode():
        found, wanted = Float8Linear(layer)(x.bfloat16()).float(), layer(x)
    for columns in (slice(0, 32), slice(32, 64)):
        errors = (found - wanted)[:, columns].norm(dim=1) / wanted[:, columns].norm(dim=1)
        assert errors.median() <= 0.05
    assert torch.isfinite(found).all()


def test_silence_in_8_bits_is_the_bias() -> None:
    """No division by a scale of nothing."""
    layer = nn.Linear(32, 16)
    with torch.inference_mode():
        found = Float8Linear(layer)(torch.zeros(16, 32, dtype=torch.bfloat16))
    assert torch.equal(found, layer.bias.bfloat16().expand(16, -1))

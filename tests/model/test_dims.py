"""Dims come from the config alone, and a hostile config gets nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from emotape.errors import ModelFault
from emotape.model.dims import read_dims
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from pathlib import Path


def changed(tmp_path: Path, **audio: object) -> Path:
    config = yaml.safe_load((GOLDEN / "large_like" / "config.yaml").read_text())
    config["model_conf"]["modalities"]["audio"] |= audio
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_sizes_are_read() -> None:
    """What the golden config says is what we build."""
    dims = read_dims(GOLDEN / "base_like" / "config.yaml", classes=10)
    assert (dims.embed_dim, dims.heads, dims.prenet_depth, dims.depth, dims.mlp_dim) == (48, 3, 1, 2, 192)
    assert (dims.position_kernel, dims.position_layers, dims.position_groups, dims.extra_tokens) == (19, 5, 16, 10)
    assert (dims.stride, dims.field, dims.normalize, dims.classes) == (320, 400, True, 10)


@pytest.mark.parametrize(
    "spec",
    [
        "__import__('os').system('true')",
        "[(64, 10, 5)] * 10 ** 9",
        "[(64, 10, 5)] * 1000000000",
        "(" * 500 + ")" * 500,
        "open('x')",
        "",
        "7",
        "[(64, 10)]",
    ],
)
def test_a_spec_is_read_and_never_run(tmp_path: Path, spec: str) -> None:
    """The reference evaluates this text; here anything but a short list of numbers is an error."""
    with pytest.raises(ModelFault) as fault:
        read_dims(changed(tmp_path, feature_encoder_spec=spec), classes=9)
    assert fault.value.code in ("config_unreadable", "network_unsupported")


@pytest.mark.parametrize(
    "other",
    [
        {"extractor_mode": "default"},
        {"learned_alibi": True},
        {"learned_alibi_scale_per_layer": True},
        {"use_alibi_encoder": False},
        {"conv_pos_pre_ln": True},
        {"num_alibi_heads": 7},
        {"conv_pos_width": 100},
        {"conv_pos_groups": 7},
        {"num_extra_tokens": 10**9},
        {"feature_encoder_spec": "[(100000, 10, 5)]"},
    ],
)
def test_another_network_is_refused_rather_than_run_wrongly(tmp_path: Path, other: dict[str, Any]) -> None:
    """What would change the arithmetic, or is impossible, is named."""
    with pytest.raises(ModelFault) as fault:
        read_dims(changed(tmp_path, **other), classes=9)
    assert fault.value.code == "network_unsupported"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"model_conf: 3", b"\xff\xfe\x00", b"a: [", b"!!python/object:os.system {}"]
)
def test_a_config_that_is_none_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    """Not YAML, or YAML of another shape."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ModelFault) as fault:
        read_dims(path, classes=9)
    assert fault.value.code == "config_unreadable"

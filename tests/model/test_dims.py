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
        "[(64, 10, 5)]" + " * 16" * 7,
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


def test_numbers_that_are_none_are_a_clear_error(tmp_path: Path) -> None:
    """Infinity is no width, and nothing can be divided by no layers."""
    for path in (changed(tmp_path, conv_pos_depth=0), changed(tmp_path, prenet_depth=float("inf"))):
        with pytest.raises(ModelFault) as fault:
            read_dims(path, classes=9)
        assert fault.value.code == "config_unreadable"


def doubled(form: str, levels: int) -> str:
    """Return YAML each of whose lines holds the one before twice: a few lines that stand for 2**levels entries."""
    lines = ["x0: &x0 {a: 1}", *(f"x{at}: &x{at} {form.format(f'*x{at - 1}')}" for at in range(1, levels + 1))]
    return "\n".join(lines)


@pytest.mark.parametrize("place", ["extractor_mode", "head"])
def test_what_a_config_repeats_is_not_written_out(tmp_path: Path, place: str) -> None:
    """The error names what was found, and does not spell out thirty thousand million copies of it."""
    text = changed(tmp_path, extractor_mode="*x35" if place == "extractor_mode" else "layer_norm").read_text()
    path = tmp_path / "config.yaml"
    path.write_text(doubled("[{0}, {0}]", 35) + "\n" + text.replace("'*x35'", "*x35") + "\nhead: {kind: *x35}\n")
    with pytest.raises(ModelFault) as fault:
        read_dims(path, classes=9 if place == "head" else 0)
    assert fault.value.code == {"extractor_mode": "network_unsupported", "head": "config_unreadable"}[place]
    assert len(str(fault.value)) < 2_000


def test_merge_keys_are_not_followed(tmp_path: Path) -> None:
    """Each level would double what has to be merged before anyone sees it."""
    path = tmp_path / "config.yaml"
    path.write_text(doubled("{{<<: [{0}, {0}]}}", 35))
    with pytest.raises(ModelFault) as fault:
        read_dims(path, classes=9)
    assert fault.value.code == "config_unreadable"


def test_a_deep_config_is_a_clear_error(tmp_path: Path) -> None:
    """Deeper than the parser can go is no configuration either."""
    path = tmp_path / "config.yaml"
    path.write_text("[" * 5_000 + "]" * 5_000)
    with pytest.raises(ModelFault) as fault:
        read_dims(path, classes=9)
    assert fault.value.code == "config_unreadable"

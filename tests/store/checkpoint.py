"""Small checkpoints in the official layout. Their weights are random and mean nothing."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import torch
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH: Final = 32
HEADS: Final = 2
CHANNELS: Final = 16
PRENET: Final = 1
DEPTH: Final = 1
TOKENS: Final = """\
生气/angry
厌恶/disgusted
恐惧/fearful
开心/happy
中立/neutral
其他/other
难过/sad
吃惊/surprised
<unk>"""
CLASSES: Final = len(TOKENS.splitlines())

_CONFIG: Final[dict[str, Any]] = {
    "model": "Emotion2vec",
    "model_conf": {
        "_name": "data2vec_multi",
        "depth": DEPTH,
        "embed_dim": WIDTH,
        "layer_norm_first": False,
        "mlp_ratio": 4.0,
        "norm_affine": True,
        "norm_eps": 1e-05,
        "normalize": True,
        "num_heads": HEADS,
        "modalities": {
            "audio": {
                "conv_pos_depth": 5,
                "conv_pos_groups": 16,
                "conv_pos_pre_ln": False,
                "conv_pos_width": 95,
                "extractor_mode": "layer_norm",
                "feature_encoder_spec": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]",
                "learned_alibi": False,
                "learned_alibi_scale": True,
                "learned_alibi_scale_per_head": True,
                "learned_alibi_scale_per_layer": False,
                "num_alibi_heads": HEADS,
                "num_extra_tokens": 10,
                "prenet_depth": PRENET,
                "type": "AUDIO",
                "use_alibi_encoder": True,
            }
        },
    },
}


def official_files(seed: int = 0, ballast: int = 0) -> dict[str, bytes]:
    """Return the files of an official repository, with `ballast` values of training-only weights beside."""
    return {
        "README.md": b"# not needed for inference\n",
        "config.yaml": yaml.safe_dump(_CONFIG).encode(),
        "configuration.json": json.dumps({"framework": "pytorch", "model": {"type": "funasr"}}).encode(),
        "model.pt": saved({"model": _state(seed, ballast), "optimizer": {"steps": 100}}),
        "tokens.txt": TOKENS.encode(),
    }


def saved(content: object) -> bytes:
    """Return what torch writes for `content`."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _state(seed: int, ballast: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    shapes = {**dict(_shapes()), "decoder.ballast": (ballast,)}
    return {f"d2v_model.{name}": torch.randn(shape, generator=random) * 0.05 for name, shape in shapes.items()}


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give the names and shapes of the reference's state dict."""
    audio = "modality_encoders.AUDIO"
    inputs = 1
    for layer, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        yield f"{audio}.local_encoder.conv_layers.{layer}.0.weight", (CHANNELS, inputs, kernel)
        yield from _affine(f"{audio}.local_encoder.conv_layers.{layer}.2.1", CHANNELS)
        inputs = CHANNELS
    yield from _affine(f"{audio}.project_features.1", CHANNELS)
    yield from _linear(f"{audio}.project_features.2", CHANNELS, WIDTH)
    for layer in range(1, 6):
        yield f"{audio}.relative_positional_encoder.{layer}.0.weight", (WIDTH, WIDTH // 16, 19)
        yield f"{audio}.relative_positional_encoder.{layer}.0.bias", (WIDTH,)
    yield f"{audio}.extra_tokens", (1, 10, WIDTH)
    yield f"{audio}.alibi_scale", (1, 1, HEADS, 1, 1)
    yield from _affine(f"{audio}.context_encoder.norm", WIDTH)
    for block in (f"{audio}.context_encoder.blocks.0", "blocks.0"):
        yield from _affine(f"{block}.norm1", WIDTH)
        yield from _affine(f"{block}.norm2", WIDTH)
        yield from _linear(f"{block}.attn.qkv", WIDTH, 3 * WIDTH)
        yield from _linear(f"{block}.attn.proj", WIDTH, WIDTH)
        yield from _linear(f"{block}.mlp.fc1", WIDTH, 4 * WIDTH)
        yield from _linear(f"{block}.mlp.fc2", 4 * WIDTH, WIDTH)
    yield from _linear("proj", WIDTH, CLASSES)


def _affine(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)

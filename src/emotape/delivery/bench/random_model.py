"""Networks of the published sizes with RANDOM weights: their speed is the real one, their emotions mean nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from emotape.model.labels import OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

_SEED: Final = 3
_POSITION_LAYERS: Final = 5
_POSITION_WIDTH: Final = 95
_POSITION_GROUPS: Final = 16
_EXTRA_TOKENS: Final = 10


TOKENIZER: Final[dict[str, Any]] = {
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    "scope_map": ["d2v_model.", "none"],
}
"""What config.yaml must say for the reference to read tokens.txt and model.pt."""


@dataclass(frozen=True)
class Size:
    """What tells the published networks apart."""

    embed_dim: int
    heads: int
    prenet: int
    depth: int
    channels: int = 512


SIZES: Final = {"large": Size(1024, 16, 4, 8), "base": Size(768, 12, 4, 8)}


def write_random_model(directory: Path, size: Size) -> None:
    """Write a model directory as the hubs serve it (config.yaml, tokens.txt, model.pt), its weights random.

    model.pt holds what inference needs, in float32; the published file holds three times as much.
    """
    import torch
    import yaml

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(_config(size)), encoding="utf-8")
    write_tokens(directory)
    torch.save({"model": _random_state(size)}, directory / "model.pt")


def write_tokens(directory: Path) -> None:
    """Write the official labels, and where the reference finds the parts of this directory."""
    lines = ["<unk>" if label.key == "unknown" else f"{label.zh_reference}/{label.key}" for label in OFFICIAL]
    (directory / "tokens.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_parts(directory)


def write_parts(directory: Path) -> None:
    """Write configuration.json, by which the reference finds the other files."""
    parts = {"init_param": "model.pt", "config": "config.yaml", "tokenizer_conf": {"token_list": "tokens.txt"}}
    (directory / "configuration.json").write_text(
        json.dumps({"framework": "pytorch", "model": {"type": "funasr"}, "file_path_metas": parts}), encoding="utf-8"
    )


def _random_state(size: Size) -> dict[str, Tensor]:
    """Return random values under the reference's names: matrices as torch begins them, norms at one."""
    import torch

    generator = torch.Generator().manual_seed(_SEED)
    return {name: _random_values(name, shape, generator) for name, shape in _shapes(size)}


def _random_values(name: str, shape: tuple[int, ...], generator: Any) -> Tensor:
    import torch

    if len(shape) == 1:
        return torch.full(shape, 1.0 if name.endswith("weight") else 0.0)  # of norms, and biases
    if name.endswith("alibi_scale"):
        return torch.ones(shape)
    bound = 0.02 if name.endswith("extra_tokens") else math.prod(shape[1:]) ** -0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _shapes(size: Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield what the reference's state dict holds, without what only training needs."""
    audio, wide = "modality_encoders.AUDIO.", size.embed_dim
    before = 1
    for layer, (channels, kernel, _) in enumerate(_convolutions(size)):
        yield f"{audio}local_encoder.conv_layers.{layer}.0.weight", (channels, before, kernel)
        yield from _norm(f"{audio}local_encoder.conv_layers.{layer}.2.1", channels)
        before = channels
    yield from _norm(f"{audio}project_features.1", before)
    yield from _linear(f"{audio}project_features.2", wide, before)
    for layer in range(1, _POSITION_LAYERS + 1):
        place = f"{audio}relative_positional_encoder.{layer}.0"
        yield f"{place}.weight", (wide, wide // _POSITION_GROUPS, _POSITION_WIDTH // _POSITION_LAYERS)
        yield f"{place}.bias", (wide,)
    yield f"{audio}extra_tokens", (1, _EXTRA_TOKENS, wide)
    yield f"{audio}alibi_scale", (1, 1, size.heads, 1, 1)
    yield from _norm(f"{audio}context_encoder.norm", wide)
    for block in range(size.prenet):
        yield from _block(f"{audio}context_encoder.blocks.{block}", wide)
    for block in range(size.depth):
        yield from _block(f"blocks.{block}", wide)
    yield from _linear("proj", len(OFFICIAL), wide)


def _block(place: str, wide: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for norm in ("norm1", "norm2"):
        yield from _norm(f"{place}.{norm}", wide)
    yield from _linear(f"{place}.attn.qkv", 3 * wide, wide)
    yield from _linear(f"{place}.attn.proj", wide, wide)
    yield from _linear(f"{place}.mlp.fc1", 4 * wide, wide)
    yield from _linear(f"{place}.mlp.fc2", wide, 4 * wide)


def _norm(place: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{place}.weight", (channels,)
    yield f"{place}.bias", (channels,)


def _linear(place: str, rows: int, columns: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{place}.weight", (rows, columns)
    yield f"{place}.bias", (rows,)


def _convolutions(size: Size) -> list[tuple[int, int, int]]:
    """Return channels, kernel and stride of every layer of the feature extractor."""
    return [(size.channels, 10, 5)] + [(size.channels, 3, 2)] * 4 + [(size.channels, 2, 2)] * 2


def _config(size: Size) -> dict[str, Any]:
    """Return what the official config.yaml says and either implementation reads."""
    nothing_dropped = dict.fromkeys(
        ("encoder_dropout", "attention_dropout", "activation_dropout", "post_mlp_drop", "dropout_input", "layerdrop"),
        0.0,
    )
    audio = {
        "type": "AUDIO",
        "feature_encoder_spec": str(_convolutions(size)),
        "extractor_mode": "layer_norm",
        "conv_pos_width": _POSITION_WIDTH,
        "conv_pos_groups": _POSITION_GROUPS,
        "conv_pos_depth": _POSITION_LAYERS,
        "conv_pos_pre_ln": False,
        "prenet_depth": size.prenet,
        "prenet_layerdrop": 0.0,
        "prenet_dropout": 0.0,
        "model_depth": size.depth,
        "num_extra_tokens": _EXTRA_TOKENS,
        "init_extra_token_zero": True,
        "use_alibi_encoder": True,
        "num_alibi_heads": size.heads,
        "alibi_scale": 1.0,
        "alibi_max_pos": None,
        "learned_alibi": False,
        "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True,
        "learned_alibi_scale_per_layer": False,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "mask_prob": 0.0,
        "mask_noise_std": 0.01,
        "local_grad_mult": 1.0,
        "ema_local_encoder": False,
        "decoder": None,
    }
    network = {
        "_name": "data2vec_multi",
        "embed_dim": size.embed_dim,
        "num_heads": size.heads,
        "depth": size.depth,
        "mlp_ratio": 4.0,
        "norm_eps": 1e-5,
        "norm_affine": True,
        "layer_norm_first": False,
        "end_of_block_targets": False,
        "start_drop_path_rate": 0.0,
        "end_drop_path_rate": 0.0,
        "average_top_k_layers": 1,
        "loss_beta": 0.0,
        "loss_scale": None,
        "clone_batch": 1,
        "normalize": True,
        "skip_ema": True,
        "supported_modality": "AUDIO",
        "modalities": {"audio": audio},
        **nothing_dropped,
    }
    return {"model": "Emotion2vec", "model_conf": network, **TOKENIZER}

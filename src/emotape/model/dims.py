"""The network's numbers, read from a checkpoint's `config.yaml`, never assumed.

Source: the reference implementation's `Emotion2vec` and `AudioEncoder` (FunASR, `models/emotion2vec`).
"""

from __future__ import annotations

import ast
import math
import reprlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from emotape.errors import ModelFault

if TYPE_CHECKING:
    from pathlib import Path

LARGE: Final = 20_000_000
"""Parameters from which on the time goes into products, which halves and packing speed up; below, into the calls."""
# A hostile config must not make us allocate: these are far above any published size.
_MOST: Final = {"embed_dim": 8192, "layers": 256, "channels": 8192, "convolutions": 16, "extra_tokens": 1024}


@dataclass(frozen=True)
class Convolution:
    """One layer of the feature extractor: output channels, kernel width and stride, in samples of its input."""

    channels: int
    kernel: int
    stride: int


@dataclass(frozen=True)
class Dims:
    """What it takes to build the network."""

    embed_dim: int
    heads: int
    prenet_depth: int
    depth: int
    mlp_dim: int
    convolutions: tuple[Convolution, ...]
    position_layers: int
    position_kernel: int
    position_groups: int
    extra_tokens: int
    norm_eps: float
    normalize: bool
    classes: int = 0  # 0: an embedding-only model, without a classifier
    head_hidden: int = 0  # 0: a linear head; otherwise the width of its one hidden layer

    @property
    def blocks(self) -> int:
        """How many transformer blocks there are in all."""
        return self.prenet_depth + self.depth

    @property
    def stride(self) -> int:
        """Samples from one frame to the next (320, 20 ms)."""
        return math.prod(layer.stride for layer in self.convolutions)

    @property
    def field(self) -> int:
        """Samples that one frame sees (400, 25 ms)."""
        seen = 1
        for layer in reversed(self.convolutions):
            seen = (seen - 1) * layer.stride + layer.kernel
        return seen

    @property
    def position_reach(self) -> int:
        """Frames to either side that one positional convolution sees (9): the gap that keeps clips apart."""
        return self.position_kernel // 2

    @property
    def parameters(self) -> int:
        """How many parameters the network has, its head left out."""
        channels = [1, *(layer.channels for layer in self.convolutions)]
        extractor = sum(
            layer.channels * (layer.kernel * width + 2)
            for width, layer in zip(channels, self.convolutions, strict=False)
        )
        features = channels[-1] * (2 + self.embed_dim) + self.embed_dim
        position = self.embed_dim * (self.position_kernel * self.embed_dim // self.position_groups + 1)
        tokens = self.extra_tokens * self.embed_dim + self.heads + 2 * self.embed_dim
        return extractor + features + self.position_layers * position + self.blocks * self.block_parameters + tokens

    @property
    def block_parameters(self) -> int:
        """How many parameters one transformer block has."""
        return self.embed_dim * (4 * self.embed_dim + 2 * self.mlp_dim + 9) + self.mlp_dim

    def frames(self, samples: int) -> int:
        """Return how many frames `samples` samples give; 0 when they are fewer than one field."""
        return 0 if samples < self.field else (samples - self.field) // self.stride + 1


class _Loader(yaml.SafeLoader):
    """YAML without merge keys: a few lines of them can stand for thousands of millions of entries."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave merges as they are, for which there is no constructor."""


def read_dims(config: Path, classes: int) -> Dims:
    """Read a checkpoint's `config.yaml`.

    Raises ModelFault: `config_unreadable` when it is not YAML of the expected shape, `network_unsupported` when it
    describes a network other than emotion2vec's.
    """
    try:
        parsed = yaml.load(config.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one
        network = parsed["model_conf"]
        audio = network["modalities"]["audio"]
        dims = _dims(network, audio, classes, parsed.get("head"))
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        ValueError,
        ArithmeticError,
        RecursionError,
        SyntaxError,
    ) as error:
        raise ModelFault("config_unreadable", path=config, reason=f"{type(error).__name__}: {error}") from error
    _check_supported(config, network, audio, dims)
    return dims


def _dims(network: dict[str, Any], audio: dict[str, Any], classes: int, head: dict[str, Any] | None) -> Dims:
    position_layers = int(audio["conv_pos_depth"])
    return Dims(
        embed_dim=int(network["embed_dim"]),
        heads=int(network["num_heads"]),
        prenet_depth=int(audio["prenet_depth"]),
        depth=int(network["depth"]),
        mlp_dim=int(int(network["embed_dim"]) * float(network["mlp_ratio"])),
        convolutions=_convolutions(audio["feature_encoder_spec"]),
        position_layers=position_layers,
        position_kernel=max(3, int(audio["conv_pos_width"]) // position_layers),
        position_groups=int(audio["conv_pos_groups"]),
        extra_tokens=int(audio["num_extra_tokens"]),
        norm_eps=float(network["norm_eps"]),
        normalize=bool(network["normalize"]),
        classes=classes,
        head_hidden=_hidden(head) if classes else 0,
    )


def _hidden(head: dict[str, Any] | None) -> int:
    """Return the width of the head's hidden layer; official configs say nothing of the head, which is linear."""
    if head is None or head["kind"] == "linear":
        return 0
    if head["kind"] != "mlp" or not 0 < int(head["hidden"]) <= _MOST["embed_dim"]:
        raise ValueError(f"a head of the kind {reprlib.repr(head['kind'])}")
    return int(head["hidden"])


def _convolutions(spec: str) -> tuple[Convolution, ...]:
    """Evaluate a spec such as `[(512, 10, 5)] + [(512, 3, 2)] * 4` without running code (the reference uses eval)."""
    if len(spec) > 1000:
        raise ValueError("the feature_encoder_spec is too long")
    layers = _literal(ast.parse(spec, mode="eval").body)
    return tuple(Convolution(*(int(number) for number in layer)) for layer in layers)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _literal(node.left) + _literal(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, times = _literal(node.left), _literal(node.right)
        if not isinstance(left, list) or not 0 < len(left) * times <= _MOST["convolutions"]:
            raise ValueError("only a short list may be repeated in a feature_encoder_spec")
        return left * times
    return ast.literal_eval(node)


def _check_supported(config: Path, network: dict[str, Any], audio: dict[str, Any], dims: Dims) -> None:
    wanted = {
        "layer_norm_first": (network.get("layer_norm_first", False), False),
        "extractor_mode": (audio.get("extractor_mode"), "layer_norm"),
        "use_alibi_encoder": (audio.get("use_alibi_encoder"), True),
        "learned_alibi": (audio.get("learned_alibi", False), False),
        "learned_alibi_scale_per_layer": (audio.get("learned_alibi_scale_per_layer", False), False),
        "conv_pos_pre_ln": (audio.get("conv_pos_pre_ln", False), False),
        "num_alibi_heads": (audio.get("num_alibi_heads"), dims.heads),
        "norm_affine": (network.get("norm_affine", True), True),
    }
    for name, (found, supported) in wanted.items():
        if found != supported:
            raise ModelFault(
                "network_unsupported", path=config, what=f"{name} = {reprlib.repr(found)} (not {supported!r})"
            )
    if not _possible(dims):
        raise ModelFault("network_unsupported", path=config, what=f"impossible sizes {dims}")


def _possible(dims: Dims) -> bool:
    layers = dims.convolutions
    return (
        0 < dims.embed_dim <= _MOST["embed_dim"]
        and dims.heads > 0
        and dims.embed_dim % dims.heads == 0
        and 0 < dims.blocks <= _MOST["layers"]
        and 0 < dims.mlp_dim <= 8 * _MOST["embed_dim"]
        and 0 < len(layers) <= _MOST["convolutions"]
        and all(0 < layer.channels <= _MOST["channels"] and 0 < layer.stride <= layer.kernel for layer in layers)
        and 0 < dims.position_layers <= _MOST["layers"]
        and dims.position_kernel % 2 == 1
        and dims.position_groups > 0
        and dims.embed_dim % dims.position_groups == 0
        and 0 <= dims.extra_tokens <= _MOST["extra_tokens"]
        and dims.norm_eps > 0
    )

"""The names and shapes that the reference implementation's state dict gives to the encoder's parameters.

Source: FunASR, `models/emotion2vec`. Files keep these names, so that either implementation loads the other's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from emotape.model.dims import Dims

_AUDIO: Final = "modality_encoders.AUDIO."
_PRODUCT: Final = ".product.weight"
_BLOCK_PLACES: Final = {
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "norm1": "norm1",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "norm2": "norm2",
}


def as_reference(name: str, values: Tensor, dims: Dims) -> Tensor:
    """Give a parameter of ours the shape and order of axes that it has in the reference."""
    if name == "extra_tokens":
        return values[None]
    if name == "alibi_scale":
        return values.view(1, 1, -1, 1, 1)
    if name.endswith(_PRODUCT):
        return values.view(len(values), _kernel(name, dims), -1).transpose(1, 2)
    return values


def from_reference(name: str, values: Tensor) -> Tensor:
    """Undo `as_reference`."""
    if name == "extra_tokens":
        return values[0]
    if name == "alibi_scale":
        return values.flatten()
    if name.endswith(_PRODUCT):
        return values.transpose(1, 2).flatten(1)
    return values


def _kernel(name: str, dims: Dims) -> int:
    return dims.convolutions[int(name.split(".")[2])].kernel


def reference_names(dims: Dims) -> dict[str, str]:
    """Return the reference's name of every parameter of the encoder, by our own."""
    return dict(_name_pairs(dims))


def _name_pairs(dims: Dims) -> Iterable[tuple[str, str]]:
    both = ("weight", "bias")
    for layer in range(len(dims.convolutions)):
        local = f"{_AUDIO}local_encoder.conv_layers.{layer}"
        yield f"extractor.convolutions.{layer}{_PRODUCT}", f"{local}.0.weight"
        yield from ((f"extractor.norms.{layer}.{part}", f"{local}.2.1.{part}") for part in both)
    yield from ((f"feature_norm.{part}", f"{_AUDIO}project_features.1.{part}") for part in both)
    yield from ((f"feature_proj.{part}", f"{_AUDIO}project_features.2.{part}") for part in both)
    for layer in range(dims.position_layers):
        relative = f"{_AUDIO}relative_positional_encoder.{layer + 1}.0"
        yield from ((f"positions.convolutions.{layer}.{part}", f"{relative}.{part}") for part in both)
    yield "extra_tokens", f"{_AUDIO}extra_tokens"
    yield "alibi_scale", f"{_AUDIO}alibi_scale"
    yield from ((f"norm.{part}", f"{_AUDIO}context_encoder.norm.{part}") for part in both)
    for index in range(dims.blocks):
        block = _block(index, dims)
        for name, place in _BLOCK_PLACES.items():
            yield from ((f"blocks.{index}.{name}.{part}", f"{block}.{place}.{part}") for part in both)
    yield from ((f"head.{part}", f"proj.{part}") for part in both)
    yield from ((f"head.hidden.{part}", f"proj.hidden.{part}") for part in both)


def _block(index: int, dims: Dims) -> str:
    # The first `prenet_depth` blocks belong to the audio encoder, the rest to the trunk.
    if index < dims.prenet_depth:
        return f"{_AUDIO}context_encoder.blocks.{index}"
    return f"blocks.{index - dims.prenet_depth}"

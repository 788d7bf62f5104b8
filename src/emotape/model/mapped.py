"""Safetensors mapped into memory, so that a network takes from its file only what it needs at the time.

Beside the weights may lie the same weights in bfloat16: half as much to read for an arithmetic that rounds them anyway.
They decide nothing that the weights themselves do not, so they share their digest, and are made from them alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from emotape.errors import ModelFault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

SAFETENSORS: Final = "model.safetensors"
HALVES: Final = "model.bfloat16.safetensors"

_LARGE: Final = 1_000_000  # bytes
_HEAD: Final = "proj."  # stays in fp32 in every arithmetic


def read_mapped(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file. Large ones are mapped one by one: whoever lets go of one frees its pages.

    Raises ModelFault `weights_unreadable`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        together = load_file(path)
        return {name: _alone(path, name) if values.nbytes > _LARGE else values for name, values in together.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelFault("weights_unreadable", path=path, reason=error) from error


def write_mapped(path: Path, state: Mapping[str, Tensor], digest: str) -> None:
    """Write tensors with the digest of the weights that they come from; the file is there whole or not at all."""
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    whole = {name: values.contiguous() for name, values in state.items()}
    save_file(whole, partial, metadata={"format": "pt", "digest": digest})
    partial.replace(path)


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in bfloat16, but the head as it is."""
    return {
        name: values if name.startswith(_HEAD) else values.to(torch.bfloat16) for name, values in sorted(state.items())
    }


def halves(directory: Path, digest: str) -> Path | None:
    """Return the file in halves if it was made from the weights with this digest."""
    from safetensors import SafetensorError, safe_open

    path = directory / HALVES
    try:
        with safe_open(path, framework="pt") as file:
            made_from: str | None = (file.metadata() or {}).get("digest")
    except (SafetensorError, OSError):
        return None
    return path if made_from == digest else None


def same_in_halves(path: Path, state: Mapping[str, Tensor]) -> bool:
    """Whether a file in halves holds what these weights are in halves."""
    stored, wanted = read_mapped(path), halved(state)
    return stored.keys() == wanted.keys() and all(
        stored[name].dtype == values.dtype and torch.equal(stored[name], values) for name, values in wanted.items()
    )


def _alone(path: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        values: Tensor = file.get_tensor(name)
    return values

"""What the part of the network that stays as it is makes of every recording, calculated once and kept in a file."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch import nn

from emotape.engine.tape import collate, lay
from emotape.model.attention import ClipAttention
from emotape.model.team import sparing

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from emotape.audio.waveform import Waveform
    from emotape.model.encoder import Encoder


class Prefix:
    """The tokens [N, D] of each recording as they enter the first block that is trained, float32 in a file."""

    def __init__(self, path: Path, width: int) -> None:
        self._path = path
        self._width = width
        self._file: BinaryIO = path.open("w+b")
        self.tokens: list[int] = []

    def add(self, tokens: Tensor) -> None:
        """Append the tokens [N, D] of the next recording. Raises OSError when the disk is full."""
        self._file.write(tokens.float().cpu().contiguous().numpy().data)
        self.tokens.append(len(tokens))

    def sealed(self) -> Prefix:
        """End the writing; what was written can be read from now on."""
        self._file.close()
        self._starts = np.concatenate([[0], np.cumsum(self.tokens)])
        self._rows = np.memmap(self._path, np.float32, "r", shape=(int(self._starts[-1]), self._width))
        return self

    def batch(self, places: list[int]) -> Tensor:
        """Return the tokens of some recordings, one after another."""
        parts = [self._rows[self._starts[place] : self._starts[place + 1]] for place in places]
        return torch.from_numpy(np.concatenate(parts))


class FrozenPart:
    """The network up to its block `first`, which is where training begins."""

    def __init__(self, encoder: Encoder, first: int, device: str) -> None:
        self._part = copy.copy(encoder)
        self._part._modules = {**encoder._modules, "blocks": nn.ModuleList(encoder.blocks[:first])}  # noqa: SLF001
        self._part.to(device)
        self._device = device
        self.width = encoder.dims.embed_dim

    def tokens(self, waveform: Waveform) -> Tensor:
        """Return the tokens [N, D] that enter the first block trained."""
        dims = self._part.dims
        layout = lay([len(waveform)], dims)
        tape = collate([waveform], layout, dims)
        moved = type(tape)(tape.wave.to(self._device), tape.keep.to(self._device), tape.tokens.to(self._device))
        with torch.inference_mode(), sparing(dims.parameters):
            found: Tensor = self._part(moved, lambda slopes: ClipAttention([layout.tokens], dims.extra_tokens, slopes))
        return found

"""Which network a fleet runs: one of this machine's, or a published one that need not be here to be counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.bench.random_model import SIZES
from emotape.model.dims import Convolution, Dims

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.delivery.bench.random_model import Size

_CONVOLUTIONS: Final = ((10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2)  # kernel and stride of every published size
_SIZE_OF: Final = {"plus-large": "large", "plus-base": "base", "plus-seed": "base", "base": "base"}


@dataclass(frozen=True)
class Network:
    """A network's name and numbers; `present` says whether its weights are on this machine."""

    name: str
    dims: Dims
    present: bool = True


def network_of(model: str | Path | None, folder: Path | None) -> Network:
    """Return the network that a name means. Raises ModelFault for a model that is neither here nor published."""
    from emotape.errors import ModelFault
    from emotape.model.dims import read_dims
    from emotape.model.weights import CONFIG, read_labels
    from emotape.store.catalogue import find_known, resolve

    try:
        entry = resolve(model, folder)
    except ModelFault:
        known = find_known(str(model))
        if known is None:
            raise
        return published(known.name)
    return Network(entry.name, read_dims(entry.path / CONFIG, classes=len(read_labels(entry.path))))


def published(name: str) -> Network:
    """Return a published network by its numbers alone. Source: the checkpoints' own config.yaml."""
    return Network(name, _dims(SIZES[_SIZE_OF[name]]), present=False)


def _dims(size: Size) -> Dims:
    return Dims(
        embed_dim=size.embed_dim,
        heads=size.heads,
        prenet_depth=size.prenet,
        depth=size.depth,
        mlp_dim=4 * size.embed_dim,
        convolutions=tuple(Convolution(size.channels, kernel, stride) for kernel, stride in _CONVOLUTIONS),
        position_layers=5,
        position_kernel=19,
        position_groups=16,
        extra_tokens=10,
        norm_eps=1e-5,
        normalize=True,
        classes=9,
    )

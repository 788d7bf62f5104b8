"""A head with one hidden layer, trained on embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from emotape.delivery.adapting.heads import Examples, Head, folded, standards
from emotape.delivery.adapting.measure import worth
from emotape.model.team import multiplying_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

HIDDEN: Final = 128
_EPOCHS: Final = 200
_PATIENCE: Final = 30  # epochs without a better dev part
_BATCH: Final = 64
_DROPOUT: Final = 0.3
_RATE: Final = 1e-3
_DECAY: Final = 1e-2


class _Perceptron(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, HIDDEN)
        self.last = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map standardised embeddings [n, D] to logits [n, C]."""
        x = F.dropout(x, _DROPOUT, self.training)
        y: Tensor = self.last(F.dropout(F.gelu(self.hidden(x)), _DROPOUT, self.training))
        return y


@multiplying_alone()
def fit_mlp(
    train: Examples, dev: Examples, classes: int, seed: int, advance: Callable[[], None] = lambda: None
) -> Head:
    """Train a head with a hidden layer: balanced class weights, dropout, and the epoch that is best on dev."""
    mean, spread = standards(train.vectors)
    x = torch.from_numpy(((train.vectors - mean) / spread).astype(np.float32))
    y = torch.from_numpy(train.classes)
    weights = class_weights(train.classes, classes)
    best: tuple[tuple[float, float], Head] | None = None
    waited = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Perceptron(x.shape[1], classes)
        optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
        for epoch in range(_EPOCHS):
            _epoch(network, optimizer, _batches(x, y), weights)
            head = _head(network, mean, spread, epoch + 1)
            value = worth(dev.classes, head.logits(dev.vectors))
            waited += 1
            if best is None or value > best[0]:
                best, waited = (value, head), 0
            advance()
            if waited >= _PATIENCE:
                break
    assert best is not None  # noqa: S101 - there was an epoch
    return best[1]


def class_weights(classes: NDArray[np.intp], count: int) -> Tensor:
    """Return the weight of each class [C]: the rarer, the heavier; 1 on average over recordings."""
    found = np.bincount(classes, minlength=count).clip(min=1)
    return torch.from_numpy((len(classes) / (count * found)).astype(np.float32))


def _batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for places in torch.split(torch.randperm(len(x)), _BATCH):
        yield x[places], y[places]


def _epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterator[tuple[Tensor, Tensor]], weights: Tensor
) -> None:
    network.train()
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y, weights).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _head(network: _Perceptron, mean: NDArray[np.float64], spread: NDArray[np.float64], epoch: int) -> Head:
    values = {name: value.detach().numpy().copy() for name, value in network.named_parameters()}
    hidden = folded(values["hidden.weight"], values["hidden.bias"], mean, spread)
    return Head(values["last.weight"], values["last.bias"], hidden, {"hidden": HIDDEN, "epoch": epoch})

"""The classifier on top of the network: a value, and how it is fitted to embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from emotape.delivery.adapting.measure import worth

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HeadKind = Literal["linear", "mlp"]

_PENALTIES: Final = tuple(float(value) for value in np.logspace(-4, 2, 13))  # C of scikit-learn, inverse strength


@dataclass(frozen=True, eq=False)
class Examples:
    """Embeddings [n, D] and the class [n] of each, an index into the labels."""

    vectors: NDArray[np.float32]
    classes: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Head:
    """Weights of a classifier: weight [C, D] and bias [C]; with a hidden layer [H, D] and [H] first, weight is [C, H].

    `chosen` is what was decided on the dev part.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    hidden: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    chosen: dict[str, Any]

    @property
    def kind(self) -> HeadKind:
        """Whether there is a hidden layer."""
        return "linear" if self.hidden is None else "mlp"

    @property
    def width(self) -> int:
        """The width of the hidden layer; 0 without one."""
        return 0 if self.hidden is None else len(self.hidden[1])

    @property
    def state(self) -> dict[str, NDArray[np.float32]]:
        """The weights by the names that the network gives them."""
        plain = {"weight": self.weight, "bias": self.bias}
        if self.hidden is None:
            return plain
        return {**plain, "hidden.weight": self.hidden[0], "hidden.bias": self.hidden[1]}

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Map embeddings [n, D] to logits [n, C]."""
        x = vectors.astype(np.float64)
        if self.hidden is not None:
            import torch
            from torch.nn.functional import gelu

            x = gelu(torch.from_numpy(x @ self.hidden[0].T + self.hidden[1])).numpy()
        logits: NDArray[np.float64] = x @ self.weight.T + self.bias
        return logits


def fit_linear(train: Examples, dev: Examples, classes: int, advance: Callable[[], None] = lambda: None) -> Head:
    """Fit multinomial logistic regression with balanced class weights; the penalty is the best on dev."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = standards(train.vectors)
    x = (train.vectors - mean) / spread
    best: tuple[tuple[float, float], Head] | None = None
    for penalty in _PENALTIES:
        fitted = LogisticRegression(C=penalty, class_weight="balanced", max_iter=2000).fit(x, train.classes)
        weight, bias = folded(*_both_classes(fitted.coef_, fitted.intercept_, classes), mean, spread)
        head = Head(weight, bias, None, {"C": penalty})
        value = worth(dev.classes, head.logits(dev.vectors))
        if best is None or value > best[0]:
            best = value, head
        advance()
    assert best is not None  # noqa: S101 - there are penalties
    return best[1]


def standards(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and spread [D] of embeddings [n, D]; a dimension that never varies has the spread 1."""
    spread = vectors.std(0, dtype=np.float64)
    return vectors.mean(0, dtype=np.float64), np.where(spread > 1e-8, spread, 1.0)


def folded(
    weight: NDArray[np.floating], bias: NDArray[np.floating], mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights [C, D], bias [C] that do on plain embeddings what these do on standardised ones."""
    plain = weight.astype(np.float64) / spread
    return plain.astype(np.float32), (bias - plain @ mean).astype(np.float32)


def _both_classes(
    weight: NDArray[np.float64], bias: NDArray[np.float64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give two classes a row each, where scikit-learn has one for both."""
    if len(weight) == classes:
        return weight, bias
    return np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])

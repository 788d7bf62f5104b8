"""The trunk is trained end to end: the epoch that is best on dev is kept, and so is what an interruption leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn import functional as F

from emotape.delivery.adapting.measure import worth
from emotape.delivery.adapting.mlp import class_weights
from emotape.model.team import sparing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from emotape.delivery.adapting.prefix import Prefix
    from emotape.delivery.adapting.split import Split
    from emotape.delivery.adapting.trunk import Trunk

_LARGE: Final = 20_000_000  # parameters; a larger network is moved less by each step
_RATES: Final = (3e-4, 5e-5)
_HEAD_RATE: Final = 1e-3
_LORA_RATE: Final = 1e-3
_DECAY: Final = 0.01
_LONGEST_STEP: Final = 1.0  # of the gradient
_WARM: Final = 0.2  # share of the epochs in which the rate rises
_HALVES: Final = (8, 0)  # the compute capability from which on a card has units for products in bfloat16


@dataclass(frozen=True)
class TuneOptions:
    """How to train: at most `epochs`, ended after `patience` without a better dev; batches of `frames` frames."""

    epochs: int = 20
    patience: int = 6
    frames: int = 3200
    rate: float | None = None
    seed: int = 0


@dataclass(eq=False)
class Course:
    """How far training is: epochs done, the best of them, its worth (recall, less surprise) and its weights."""

    epoch: int = 0
    best_epoch: int = 0
    worth: tuple[float, float] = (-1.0, 0.0)
    best: dict[str, Tensor] = field(default_factory=dict)
    recalls: list[float] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True, eq=False)
class Lesson:
    """What the trunk learns from: recordings, the class [n] of each, and which of them train."""

    prefix: Prefix
    classes: NDArray[np.intp]
    split: Split
    labels: int


class Tuning:
    """Trains a trunk on one device. With a `notebook`, a run that was broken off goes on where it stopped."""

    def __init__(self, trunk: Trunk, lesson: Lesson, options: TuneOptions, device: str, notebook: Path) -> None:
        self.course = Course()
        self._trunk = trunk.to(device)
        self._lesson = lesson
        self._options = options
        self._device = torch.device(device)
        self._halves = self._device.type == "cuda" and torch.cuda.get_device_capability(self._device) >= _HALVES
        self._notebook = notebook
        self._weights = class_weights(lesson.classes[lesson.split.train], lesson.labels).to(device)
        self._optimizer = torch.optim.AdamW(self._groups(), weight_decay=_DECAY)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            [group["lr"] for group in self._optimizer.param_groups],
            total_steps=options.epochs + 1,
            pct_start=_WARM,
            cycle_momentum=False,
        )

    def run(self, tell: Callable[[int, float, float], None]) -> Course:
        """Train until dev gets no better; `tell` hears of every epoch, its loss and its recall on dev.

        Ctrl-C ends it with the best epoch so far. The trunk then has the weights of the best epoch.
        """
        with self._threads():
            return self._run(tell)

    def _run(self, tell: Callable[[int, float, float], None]) -> Course:
        course = self.course
        try:
            if not self._resume():
                self._judge()
            while course.epoch < self._options.epochs and course.epoch - course.best_epoch < self._options.patience:
                course.epoch += 1
                loss = self._learn()
                self._judge()
                self._note()
                tell(course.epoch, loss, course.recalls[-1])
        except KeyboardInterrupt:
            if not course.best:
                raise
            course.interrupted = True
        self._trunk.load_state_dict(course.best, strict=False)
        return course

    def logits(self, places: Sequence[int]) -> NDArray[np.float64]:
        """Return the trunk's logits [n, C] of some recordings."""
        self._trunk.eval()
        with torch.inference_mode(), self._threads():
            found = [self._heard(batch).cpu().numpy() for batch in self._batches(places)]
        return np.concatenate(found).astype(np.float64)

    def _threads(self) -> AbstractContextManager[None]:
        return sparing(self._trunk.network_parameters)

    def _groups(self) -> list[dict[str, Any]]:
        parameters = [(name, value) for name, value in self._trunk.named_parameters() if value.requires_grad]
        adapters = any("lora_" in name for name, _ in parameters)
        large = sum(value.numel() for value in self._trunk.parameters()) > _LARGE
        rate = self._options.rate or (_LORA_RATE if adapters else _RATES[large])
        return [
            {"params": [value for name, value in parameters if not name.startswith("head.")], "lr": rate},
            {"params": [value for name, value in parameters if name.startswith("head.")], "lr": _HEAD_RATE},
        ]

    def _learn(self) -> float:
        """Go once through the training part in an order of its own; return the mean loss."""
        generator = torch.Generator().manual_seed(self._options.seed * 1000 + self.course.epoch)
        train = self._lesson.split.train
        order = train[torch.randperm(len(train), generator=generator).numpy()]
        losses = []
        self._trunk.train()
        cards = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=cards):
            torch.manual_seed(self._options.seed * 1000 + self.course.epoch)
            for batch in self._batches(order.tolist()):
                truth = torch.from_numpy(self._lesson.classes[batch]).to(self._device)
                self._optimizer.zero_grad(set_to_none=True)
                loss = F.cross_entropy(self._heard(batch), truth, self._weights)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self._trunk.parameters(), _LONGEST_STEP)
                self._optimizer.step()
                losses.append(loss.item())
        self._schedule.step()
        return float(np.mean(losses))

    def _heard(self, batch: Sequence[int]) -> Tensor:
        """Run some recordings as one batch.

        While a card learns, the blocks' products are in bfloat16. What is judged, and compared with the model that is
        written, is in fp32.
        """
        lengths = [self._lesson.prefix.tokens[place] for place in batch]
        tokens = self._lesson.prefix.batch(list(batch)).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._halves and self._trunk.training):
            logits: Tensor = self._trunk(tokens, lengths)
        return logits

    def _batches(self, places: Sequence[int]) -> Iterator[list[int]]:
        """Yield recordings in order, as many at a time as have so many frames together; one at least."""
        batch: list[int] = []
        for place in places:
            batch.append(int(place))
            if sum(self._lesson.prefix.tokens[each] for each in batch) >= self._options.frames:
                yield batch
                batch = []
        if batch:
            yield batch

    def _judge(self) -> None:
        """Measure dev, and keep the weights if they are the best so far."""
        course, dev = self.course, self._lesson.split.dev
        found = worth(self._lesson.classes[dev], self.logits(dev.tolist()))
        course.recalls.append(found[0])
        if found > course.worth:
            course.worth, course.best_epoch = found, course.epoch
            course.best = {name: value.detach().cpu().clone() for name, value in self._trained().items()}

    def _trained(self) -> dict[str, Tensor]:
        return {name: value for name, value in self._trunk.named_parameters() if value.requires_grad}

    def _note(self) -> None:
        """Write down what the next epoch starts from; the file is there whole or not at all."""
        course = self.course
        partial = self._notebook.with_suffix(".partial")
        torch.save(
            {
                "trained": {name: value.detach().cpu() for name, value in self._trained().items()},
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
                "epoch": course.epoch,
                "best_epoch": course.best_epoch,
                "worth": list(course.worth),
                "best": course.best,
                "recalls": course.recalls,
            },
            partial,
        )
        partial.replace(self._notebook)

    def _resume(self) -> bool:
        """Go on from the notebook, if there is one that can be read.

        Trunk and optimizer take to the device what belongs there. The count of steps does not: each would wait for it.
        """
        try:
            noted: Mapping[str, Any] = torch.load(self._notebook, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError):
            return False
        self._trunk.load_state_dict(noted["trained"], strict=False)
        self._optimizer.load_state_dict(noted["optimizer"])
        self._schedule.load_state_dict(noted["schedule"])
        course = self.course
        course.epoch, course.best_epoch, course.best = noted["epoch"], noted["best_epoch"], noted["best"]
        course.worth, course.recalls = tuple(noted["worth"]), list(noted["recalls"])
        return True

"""The training loop: a schedule in seconds of wall clock, checkpoints to resume from, the best model on dev kept.

What the student learns at every step:
 - each frame says what the teacher's middle block says of the clean clip (standardised per dimension),
 - each frame of the convolutions says the log-mel spectrum of the samples it sees,
 - the clip's mean says the teacher's pooled features,
 - the logits say the cross-fitted probe's probabilities and the true label.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from training.assess import judge, score, summarise
from training.augment import CONDITIONS
from training.corpora import UNLABELLED, Corpora
from training.export import TRAINED, warm_start, write_model
from training.lessons import BANDS, Batch, LessonStream
from training.student import Dimensions, Heard, Student
from training.teacher import POOLED, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAMES_A_SECOND = 50
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Regimen:
    """How the student is trained."""

    seconds: float  # of wall clock for the whole schedule, over all resumptions
    rate: float = 1e-3
    warm_up: int = 300  # steps
    decay: float = 0.03  # of matrices
    clip: float = 1.0  # norm of the gradient
    averaging: float = 0.9985  # of the weights that are judged and exported
    assess_every: float = 900.0  # seconds
    save_every: float = 300.0  # seconds
    listening: float = 0.08  # share of the schedule in which only the convolutions learn, from the spectra
    device: str = "cpu"
    loaders: int = 1


class Pupil(nn.Module):
    """The student with the heads that only training needs."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.student = Student(dimensions)
        self.to_middle = nn.Linear(dimensions.width, WIDTH)
        self.to_spectra = nn.Linear(dimensions.width, BANDS)
        self.to_pooled = nn.Linear(dimensions.width, POOLED)
        self.dropout = nn.Dropout(0.1)

    def listen(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the convolutions alone, at two fifths of the cost of a whole step."""
        spectral, valid = self.student.audio.listen(batch.waves, batch.frames)
        loss = (_square(self.to_spectra(spectral), batch.spectra) * valid[..., 0]).sum() / valid.sum()
        return loss, {"spectra": loss.detach()}

    def losses(self, batch: Batch, weights: LossWeights) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and each loss for the log."""
        heard: Heard = self.student(batch.waves, batch.frames)
        valid = torch.arange(heard.frames.shape[1], device=batch.frames.device)[None] < batch.frames[:, None]
        share = valid / valid.sum()
        logits = F.linear(self.dropout(heard.mean), self.student.proj.weight, self.student.proj.bias)
        each = {
            "middle": (_square(self.to_middle(heard.frames), batch.middle) * share).sum(),
            "spectra": (_square(self.to_spectra(heard.spectral), batch.spectra) * share).sum(),
            "pooled": (_square(self.to_pooled(heard.mean), batch.pooled) * batch.whole.square()).mean(),
            **_label_losses(logits[:, TRAINED].float(), batch),
        }
        total = torch.stack([getattr(weights, name) * loss for name, loss in each.items()]).sum()
        return total, {name: loss.detach() for name, loss in each.items()}


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts."""

    middle: float
    spectra: float
    pooled: float
    probe: float
    label: float

    def at(self, progress: float, end: LossWeights) -> LossWeights:
        """Return the weights at a share of the way to ``end``."""
        pairs = zip(astuple(self), astuple(end), strict=True)
        return LossWeights(*(first + (last - first) * progress for first, last in pairs))


# Errors of imitation are means over hundreds of dimensions, so their gradients are small: at equal weights the labels'
# is twenty times the frames' and, with a dozen clips in a batch, mostly noise. First the ears, then the judgement.
FIRST = LossWeights(middle=6.0, spectra=1.0, pooled=4.0, probe=0.7, label=0.15)
FINALLY = LossWeights(middle=1.5, spectra=0.2, pooled=2.0, probe=1.0, label=0.6)


def _square(given: Tensor, wanted: Tensor) -> Tensor:
    return (given.float() - wanted.float()).square().mean(-1)


def _label_losses(logits: Tensor, batch: Batch) -> dict[str, Tensor]:
    logs = F.log_softmax(logits, -1)
    known = (batch.emotions != UNLABELLED).sum().clamp_min(1)
    label = F.cross_entropy(logits, batch.emotions, ignore_index=UNLABELLED, label_smoothing=0.05, reduction="sum")
    return {"probe": F.kl_div(logs, batch.soft, reduction="batchmean"), "label": label / known}


class Training:
    """Everything that a checkpoint holds."""

    def __init__(self, dimensions: Dimensions, regimen: Regimen, init: Path | None) -> None:
        torch.manual_seed(0)
        self.regimen = regimen
        self.pupil = Pupil(dimensions).to(regimen.device)
        if init is not None:
            afresh = warm_start(self.pupil.student, init)
            logger.info("started from %s; afresh: %s", init.name, ", ".join(afresh) or "nothing")
        self.average = copy.deepcopy(self.pupil.student).eval()
        self.optimiser = torch.optim.AdamW(_groups(self.pupil, regimen), betas=(0.9, 0.98), fused=True)
        self.step, self.listened, self.spent, self.heard, self.best = 0, 0, 0.0, 0.0, 0.0
        self.running: dict[str, float] = {}

    @property
    def progress(self) -> float:
        """Share of the schedule that is spent."""
        return self.spent / self.regimen.seconds

    def rate(self, listening: bool) -> float:
        """Return the learning rate: a cosine over the clock, with a warm-up in steps for each of the two phases."""
        steps = self.step if listening else self.step - self.listened
        warmth = min(1.0, (steps + 1) / self.regimen.warm_up)
        annealed = max(0.5 * (1 + math.cos(math.pi * min(1.0, self.progress))), 0.003)
        return self.regimen.rate * warmth * annealed * (2 if listening else 1)

    def learn(self, batch: Batch) -> None:
        """Take one step of the optimiser."""
        listening = self.progress < self.regimen.listening
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(listening) * group["share"]
        with torch.autocast(self.regimen.device, dtype=torch.bfloat16):
            if listening:
                loss, each = self.pupil.listen(batch)
            else:
                loss, each = self.pupil.losses(batch, FIRST.at(self.progress, FINALLY))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.pupil.parameters(), self.regimen.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.listened += listening
        self.heard += float(batch.frames.sum()) / FRAMES_A_SECOND
        self._average()
        if self.step % 5 == 0:  # each float waits for the device
            for name, value in {**each, "gradient": norm}.items():
                self.running[name] = 0.95 * self.running.get(name, float(value)) + 0.05 * float(value)

    def _average(self) -> None:
        """Move the averaged weights; while only the convolutions learn they simply follow."""
        learnt = self.step - self.listened
        keep = min(self.regimen.averaging, learnt / (learnt + 20))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.pupil.student.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        names = ("step", "listened", "spent", "heard", "best", "running")
        state = {name: getattr(self, name) for name in names}
        state["modules"] = {name: getattr(self, name).state_dict() for name in ("pupil", "average", "optimiser")}
        temporary = path.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Continue where a checkpoint stopped."""
        state: dict[str, Any] = torch.load(path, map_location=self.regimen.device)
        for name, value in state.pop("modules").items():
            getattr(self, name).load_state_dict(value)
        for name, value in state.items():
            setattr(self, name, value)


def _groups(pupil: Pupil, regimen: Regimen) -> list[dict[str, Any]]:
    """Parameters by how they are to be moved: ``share`` multiplies the learning rate."""
    first = pupil.student.audio.first_convolution
    others = [value for value in pupil.parameters() if value is not first]
    return [
        {"params": [value for value in others if value.ndim > 1], "weight_decay": regimen.decay, "share": 1.0},
        {"params": [value for value in others if value.ndim <= 1], "weight_decay": 0.0, "share": 1.0},
        # its weights are a tenth of the others' size, so are its steps; and they must not decay to nothing
        {"params": [first], "weight_decay": 0.0, "share": 0.1},
    ]


def distil(training: Training, stream: LessonStream, corpora: Corpora, folder: Path) -> None:
    """Train until the schedule's seconds are spent; leaves ``last/`` and ``best/`` model directories in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        training.resume(checkpoint)
        logger.info("resumed at step %d, %.1f %%", training.step, 100 * training.progress)
    regimen, judged, saved = training.regimen, training.spent, training.spent
    start = time.monotonic() - training.spent
    for batch in _batches(stream, training):
        training.learn(batch)
        training.spent = time.monotonic() - start
        if training.step % 200 == 0:
            logger.info(_line(training))
        finished = training.spent >= regimen.seconds
        if finished or training.spent - judged >= regimen.assess_every:
            _look_back(training, corpora, folder)
            judged = training.spent
        if finished or training.spent - saved >= regimen.save_every:
            training.save(checkpoint)
            saved = training.spent
        if finished:
            return


def _batches(stream: LessonStream, training: Training) -> Iterator[Batch]:
    """Yield the batches from the training's step on, made ahead by other processes."""
    remaining = Subset(stream, range(training.step, len(stream)))
    loader = DataLoader(remaining, batch_size=None, num_workers=training.regimen.loaders, prefetch_factor=4)
    for batch in loader:
        yield Batch(*(part.to(training.regimen.device) for part in batch))


def _line(training: Training) -> str:
    losses = " ".join(f"{name} {value:.3f}" for name, value in training.running.items())
    return (
        f"step {training.step} {training.progress:.1%} {losses} | "
        f"{training.heard:,.0f} s heard, {training.heard / training.spent:.0f} a second"
    )


def _look_back(training: Training, corpora: Corpora, folder: Path) -> None:
    """Judge the averaged weights on the dev speakers; keep them if they are the best so far."""
    figures = {
        condition: summarise(corpora, *judge(training.average, corpora, "dev", condition, rough=True))
        for condition in CONDITIONS
    }
    reached = score(figures)
    logger.info("dev %.4f %s", reached, json.dumps(figures))
    record = {"step": training.step, "seconds heard": training.heard, "score": reached, "dev": figures}
    write_model(training.average, folder / "last")
    (folder / "last" / "dev.json").write_text(json.dumps(record, indent=1))
    with (folder / "history.jsonl").open("a") as history:
        history.write(json.dumps({**record, "losses": training.running, "regimen": asdict(training.regimen)}) + "\n")
    if reached > training.best:
        training.best = reached
        write_model(training.average, folder / "best")
        (folder / "best" / "dev.json").write_text(json.dumps(record, indent=1))

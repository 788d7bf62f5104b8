"""The runners that `emotape bench gpu` measures, and the clips that they run."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.delivery.bench import speech
from emotape.delivery.bench.reference import Heard
from emotape.delivery.bench.subject import Choice
from emotape.engine.accelerator import AcceleratorRunner, options_for
from emotape.engine.card import LARGEST_TAPE, WINDOW_TAPE
from emotape.engine.runner import Clip
from emotape.engine.scheduler import Scheduler
from emotape.errors import EngineFault
from emotape.model.dims import read_dims
from emotape.model.weights import CONFIG, load, read_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from emotape.audio.waveform import Waveform
    from emotape.engine.runner import ClipScores

_MOST_QUEUED: Final = 1e9  # seconds of audio
_TRIED_SECONDS: Final = 20.0  # several clips on one tape, before anything is timed


@dataclass(frozen=True)
class GpuOptions:
    """What to measure, on which device.

    device       as torch knows it; None: the first graphics card
    seconds      lengths of the clips that go one at a time
    audio        seconds of audio that go at once, in clips of mixed lengths
    arithmetics  of emotape; the first one goes one at a time, too
    tape_tokens  tokens of the longest tape
    block        tokens that the attention kernel takes at a time; None: as the engine does
    piece        frames of the strided convolutions at a time; None: as the engine does
    """

    choice: Choice = field(default_factory=Choice)
    device: str | None = None
    seconds: tuple[float, ...] = (3.0, 10.0, 30.0)
    audio: float = 3_200.0
    arithmetics: tuple[str, ...] = ("float16", "bfloat16", "float8", "float32")
    tape_tokens: int = LARGEST_TAPE
    block: int | None = None
    piece: int | None = None
    runs: int = 5


class Runners:
    """Makes runners of one model on one device, and keeps those that are warm."""

    def __init__(self, directory: Path, options: GpuOptions) -> None:
        self.options = options
        self.device = str(options.device)
        self.refused: dict[str, str] = {}
        labels = read_labels(directory)
        self.dims = read_dims(directory / CONFIG, classes=len(labels))
        self._labels = labels
        self._directory = directory
        self._warm: dict[tuple[str, bool], AcceleratorRunner] = {}

    def alone(self, arithmetic: str, tokens: int) -> tuple[float, AcceleratorRunner]:
        """Make and warm up a runner as the engine does for tapes of up to `tokens`; say how many seconds it took."""
        began = time.perf_counter()
        runner = self._make(arithmetic, tokens, recorded=True)
        return time.perf_counter() - began, runner

    def kept(self, arithmetic: str, *, recorded: bool = True) -> AcceleratorRunner:
        """Return a warm runner; of those that are not recorded, only what a single clip needs."""
        key = arithmetic, recorded
        if key not in self._warm:
            tokens = self.options.tape_tokens if recorded else min(WINDOW_TAPE, self.options.tape_tokens)
            self._warm[key] = self._make(arithmetic, tokens, recorded=recorded)
        return self._warm[key]

    def _make(self, arithmetic: str, tokens: int, *, recorded: bool) -> AcceleratorRunner:
        chosen = options_for(self.device, tokens)
        if arithmetic != self.options.arithmetics[0]:
            chosen = replace(chosen, sizes=chosen.sizes[-1:])  # it runs full tapes only
        block, piece = self.options.block or chosen.block, self.options.piece or chosen.piece
        chosen = replace(chosen, recorded=recorded, block=block, piece=piece)
        named: Any = arithmetic
        runner = AcceleratorRunner(load(self._directory, None), self.device, named, chosen)
        runner.warm_up()
        tried = self.tapes(self.clips(_TRIED_SECONDS), tokens)[0]
        if not all(scores.is_finite for scores in runner.run(tried)):
            raise EngineFault("not_finite", device=f"{self.device} ({arithmetic})")
        return runner

    def not_compiled(self) -> set[str]:
        """Return why runners that should be compiled are not."""
        return {runner.not_compiled for runner in self._warm.values() if runner.not_compiled}

    def hearer(self, arithmetic: str, *, recorded: bool) -> Callable[[Waveform], Heard]:
        """Return what hears one clip at a time."""
        runner = self.kept(arithmetic, recorded=recorded)
        return lambda waveform: self._heard(runner.run([Clip(waveform)])[0])

    def _heard(self, scores: ClipScores) -> Heard:
        label = None if scores.logits is None else self._labels[int(scores.logits.argmax())]
        return Heard(scores.embedding, label.key if label else None)

    def ways(
        self, stack: ExitStack, arithmetic: str, clips: Sequence[Clip]
    ) -> dict[str, Callable[[], list[ClipScores]]]:
        """Return the ways to run many clips: as requests that the scheduler packs, and on tapes packed beforehand.

        An arithmetic that the device cannot do has none, and is noted.
        """
        try:
            runner = self.kept(arithmetic)
        except (RuntimeError, NotImplementedError, EngineFault) as error:  # torch has no type of its own for it
            self.refused[arithmetic] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            return {}
        scheduler = Scheduler([runner] * runner.lanes, tape_tokens=self.options.tape_tokens, queue_seconds=_MOST_QUEUED)
        stack.enter_context(closing(scheduler))
        threads = stack.enter_context(ThreadPoolExecutor(runner.lanes))
        tapes = self.tapes(clips, self.options.tape_tokens)

        def requests() -> list[ClipScores]:
            return [pending.result().scores[0] for pending in [scheduler.submit([clip]) for clip in clips]]

        def packed() -> list[ClipScores]:
            return [scores for answers in threads.map(runner.run, tapes) for scores in answers]

        return {f"{arithmetic}, requests": requests, f"{arithmetic}, packed tapes": packed}

    def clips(self, seconds: float) -> list[Clip]:
        """Return clips of mixed lengths, 1 to 15 s and more of them short than long, of so many seconds in all."""
        random = np.random.default_rng(11)
        found: list[Clip] = []
        left = seconds
        for number in count():
            if left <= 0:
                return found
            found.append(Clip(speech.clip(15 ** random.random(), number)))
            left -= found[-1].waveform.seconds
        return found

    def tapes(self, clips: Sequence[Clip], tokens: int) -> list[list[Clip]]:
        """Lay clips in order on as few tapes as that takes."""
        tapes: list[list[Clip]] = [[]]
        room = tokens
        for clip in clips:
            wanted = self.dims.frames(len(clip.waveform)) + self.dims.extra_tokens
            if wanted > room and tapes[-1]:
                tapes.append([])
                room = tokens
            tapes[-1].append(clip)
            room -= wanted
        return tapes


def same_labels(found: Sequence[ClipScores], wanted: Sequence[ClipScores]) -> float | None:
    """Return on which share of clips the best class is the same; None for an embedding-only model."""
    pairs = [(one.logits, other.logits) for one, other in zip(found, wanted, strict=True)]
    same = [one.argmax() == other.argmax() for one, other in pairs if one is not None and other is not None]
    return float(np.mean(same)) if same else None

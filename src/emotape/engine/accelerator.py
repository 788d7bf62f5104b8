"""Tapes of a few fixed sizes on a graphics card: compiled, recorded, and laid while the one before still runs.

Clips go on the smallest tape that has room for them. Every size has memory of its own on the device, where its run was
recorded; a lane is what one calling thread needs beside it. With two lanes, one thread lays a tape and queues it while
the other waits for its results, and the device goes from tape to tape without a pause.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import platformdirs

from emotape.audio.waveform import Waveform
from emotape.engine.card import MOST_FRAMES, SMALLEST_TAPE, piece_of
from emotape.engine.collation import fill, fits
from emotape.engine.device import device_of
from emotape.engine.program import Lane, Program
from emotape.engine.runner import Clip, ClipScores
from emotape.engine.tape import collate, lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from emotape.engine.device import Device
    from emotape.engine.plan import Arithmetic
    from emotape.engine.program import Buffers
    from emotape.engine.tape import Layout
    from emotape.model.attention import Attention
    from emotape.model.weights import LoadedModel

_RECOMPILATIONS: Final = 1_024  # each size of tape on each card, for each model and arithmetic, is one of its own


@dataclass(frozen=True)
class AcceleratorOptions:
    """How tapes run on a device.

    sizes      tokens of the tapes there are, ascending
    compiled   whether torch compiles what repeats; without, every operation is launched for itself
    recorded   whether a run is recorded once and then repeated, where the device can
    attention  "fused": all clips in one kernel, which must be compiled; "clips": one by one
    block      tokens that the fused kernel takes at a time
    piece      frames of the strided convolutions at a time
    lanes      tapes under way at once
    """

    sizes: tuple[int, ...]
    compiled: bool = True
    recorded: bool = True
    attention: Literal["fused", "clips"] = "fused"
    block: int = 128
    piece: int = MOST_FRAMES
    lanes: int = 2


def options_for(device: str, tape_tokens: int) -> AcceleratorOptions:
    """Return how a device runs tapes of up to `tape_tokens` tokens."""
    from emotape.model.fixed_tape import sizes_up_to

    sizes = sizes_up_to(tape_tokens, SMALLEST_TAPE)
    chosen = AcceleratorOptions(sizes, piece=piece_of(sizes[-1]))
    if device.startswith("cuda"):
        return chosen
    return replace(chosen, compiled=False, recorded=False, attention="clips", block=64)


class AcceleratorRunner:
    """The network on one device, on tapes of fixed sizes. `run` takes `lanes` threads at once."""

    def __init__(
        self,
        model: LoadedModel,
        device: str,
        arithmetic: Arithmetic = "float32",
        options: AcceleratorOptions | None = None,
        queue: Device | None = None,
    ) -> None:
        """Take over `model`, which must not be used afterwards. `queue` is the way to the device; None: torch's own."""
        from emotape.model.fixed_tape import TapeNetwork

        self.device = device
        self.dims = model.dims
        self.arithmetic: Arithmetic = arithmetic
        self.options = options or options_for(device, SMALLEST_TAPE)
        self.lanes = self.options.lanes
        self._given = queue
        self._queue = queue or device_of(device, records=self.options.recorded)
        self.not_compiled: str | None = None
        self._order = Lock()
        self._network = TapeNetwork(model.encoder, device, arithmetic, self.options.piece)
        if self.options.compiled:
            _keep_what_is_compiled()
            self._network.compile()
        self._make_memory()
        self._warm, self._warming = False, Lock()

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Run clips as one tape; one answer per clip, in order."""
        import torch

        self.warm_up()
        waveforms = [clip.waveform for clip in clips]
        layout = lay([len(waveform) for waveform in waveforms], self.dims)
        program = next((program for program in self._programs if fits(layout, program.shape)), None)
        with torch.inference_mode():
            if program is None:
                return self._run_freely(clips, layout)
            with self._lane() as lane:
                buffers = lane.buffers(program)
                fill(buffers.laid, waveforms, layout)
                wait, per_frame = self._launch(program, buffers, clips, layout)
                wait()
                return buffers.answers(layout, per_frame)

    def warm_up(self) -> None:
        """Compile and record every size, the largest first, whose memory the others then share; fill the lanes."""
        with self._warming:
            if not self._warm:
                self._prepare_compiled()
                self._warm = True

    def _prepare_compiled(self) -> None:
        """Prepare every size; where torch cannot compile on this machine, do without, which is slower but exact."""
        import torch

        try:
            if self.options.compiled:
                _compile_every_size()
            self._prepare_all()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if not self.options.compiled:
                raise
            self._forget_compiled(f"{type(error).__name__}: {(str(error).strip() or '?').splitlines()[0]}")
            self._prepare_all()

    def do_without_compiling(self, reason: str) -> None:
        """Run operation by operation from now on, in torch's own kernels. No tape may be under way."""
        with self._warming:
            self._warm = False
            self._forget_compiled(reason)

    def _forget_compiled(self, reason: str) -> None:
        self.not_compiled = reason
        self.options = replace(self.options, compiled=False, recorded=False, attention="clips")
        self._network.forget_compiled()
        self._queue = self._given or device_of(self.device, records=False)
        self._make_memory()

    def _make_memory(self) -> None:
        from emotape.model.fixed_tape import TapeShape

        shapes = [TapeShape(tokens, self.dims, self.options.block) for tokens in self.options.sizes]
        self._programs = [Program(shape, self._network, self.device, self._queue) for shape in shapes]
        self._lanes: SimpleQueue[Lane] = SimpleQueue()
        for _ in range(self.lanes):
            self._lanes.put(Lane())

    def _prepare_all(self) -> None:
        import torch

        shortest = Waveform(np.zeros(self.dims.field, np.float32))
        layout = lay([len(shortest)], self.dims)
        lanes = [self._lanes.get() for _ in range(self.lanes)]
        with torch.inference_mode():
            largest_first = self._programs[::-1]
            for program in largest_first:
                for lane in lanes:
                    fill(lane.buffers(program).laid, [shortest], layout)
                program.lay(lanes[0].buffers(program).laid, self._attention(program, layout))
            again = self._queue.prepare([program.work for program in largest_first])
            for program, repeat in zip(largest_first, again, strict=True):
                program.again = repeat
        for lane in lanes:
            self._lanes.put(lane)

    def steps(self, clips: Sequence[Clip]) -> dict[str, Callable[[], object]]:
        """Return what the device does for these clips, step by step, to be measured in inference mode.

        They must fit on one of the tapes. Nobody else may run tapes meanwhile.
        """
        import torch

        self.warm_up()
        layout = lay([len(clip.waveform) for clip in clips], self.dims)
        program = next(program for program in self._programs if fits(layout, program.shape))
        with torch.inference_mode(), self._lane() as lane, self._order:
            buffers = lane.buffers(program)
            fill(buffers.laid, [clip.waveform for clip in clips], layout)
            program.tape.copy(buffers.laid)
            program.attend = self._attention(program, layout)
            return self._network.steps(program.tape, program.attend) | {"all, as it runs": program.again}

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        lane = self._lanes.get()
        try:
            yield lane
        finally:
            self._lanes.put(lane)

    def _launch(
        self, program: Program, buffers: Buffers, clips: Sequence[Clip], layout: Layout
    ) -> tuple[Callable[[], None], list[NDArray[np.float32] | None]]:
        """Queue a tape behind the one before; return what waits for it, and the frames' embeddings where wanted."""
        with self._order:
            program.attend = self._attention(program, layout)
            wait = self._queue.launch(
                lambda: buffers.staged.copy(buffers.laid),
                lambda: program.run_on(buffers.staged),
                lambda: buffers.take(program.scores, layout),
            )
            if not any(clip.frame_embeddings for clip in clips):
                return wait, [None] * len(clips)
            wait()  # they are read from the device's own memory, before the next tape is written there
            return wait, self._per_frame(program.scores.vectors, clips, layout)

    def _attention(self, program: Program, layout: Layout) -> Attention:
        if self.options.attention == "fused":
            return program.fused
        from emotape.model.attention import ClipAttention
        from emotape.model.block_table import clip_bounds

        lengths = [place.tokens for place in layout.places]
        _, stops = clip_bounds(lengths, program.shape.tokens, program.shape.block)
        return ClipAttention(np.diff(np.unique([0, *stops])).tolist(), self.dims.extra_tokens, self._network.slopes)

    def _run_freely(self, clips: Sequence[Clip], layout: Layout) -> list[ClipScores]:
        """Run a tape that is longer than any fixed size, which only a single clip makes; nothing is compiled for it."""
        from emotape.model.attention import ClipAttention

        network, extra = self._network, self.dims.extra_tokens
        tape = collate([clip.waveform for clip in clips], layout, self.dims)
        lengths = [place.tokens for place in layout.places]
        with self._order:
            vectors = network(
                tape.wave.to(self.device, network.dtype),
                tape.keep.to(self.device, network.dtype),
                tape.tokens.to(self.device),
                ClipAttention(lengths, extra, network.slopes),
            ).float()
            frames = [part[extra:] for part in vectors.split_with_sizes(lengths)]
            return [self._answer(part, clip) for part, clip in zip(frames, clips, strict=True)]

    def _answer(self, frames: torch.Tensor, clip: Clip) -> ClipScores:
        embedding = frames.mean(0)
        logits = frame_logits = None
        if self.dims.classes:
            logits = self._network.logits(embedding).cpu().numpy()
            frame_logits = self._network.logits(frames).cpu().numpy()
        per_frame = frames.cpu().numpy().copy() if clip.frame_embeddings else None
        return ClipScores(embedding.cpu().numpy(), logits, frame_logits, per_frame)

    def _per_frame(
        self, vectors: torch.Tensor, clips: Sequence[Clip], layout: Layout
    ) -> list[NDArray[np.float32] | None]:
        parts = vectors[: layout.tokens].split_with_sizes([place.tokens for place in layout.places])
        return [
            part[self.dims.extra_tokens :].float().cpu().numpy().copy() if clip.frame_embeddings else None
            for part, clip in zip(parts, clips, strict=True)
        ]


def _keep_what_is_compiled() -> None:
    """Let torch keep what it compiles from start to start, unless the user said where.

    The variable is read when the first thing is compiled.
    """
    folder = platformdirs.user_cache_path("emotape", appauthor=False) / "compiled"
    with suppress(OSError):  # where nothing can be written, torch's own place for passing things may do
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def _compile_every_size() -> None:
    """Let torch compile more often than it does by default, beyond which it would run operation by operation.

    In newer torch this holds for the calling thread alone, so it must be the one that compiles.
    """
    import torch

    limits: Any = torch._dynamo.config  # noqa: SLF001 - its documented place
    limits.recompile_limit = max(limits.recompile_limit, _RECOMPILATIONS)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, _RECOMPILATIONS)

"""One size of tape on a device: the memory that its run works on, and what each calling thread has beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emotape.engine.runner import ClipScores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from emotape.engine.device import Device
    from emotape.engine.tape import Layout
    from emotape.model.attention import Attention
    from emotape.model.fixed_tape import FixedTape, TapeNetwork, TapeScores, TapeShape


class Program:
    """The run of one size of tape: its memory on the device, and what repeats it."""

    def __init__(self, shape: TapeShape, network: TapeNetwork, device: str, queue: Device) -> None:
        from emotape.model.document_attention import DocumentAttention
        from emotape.model.fixed_tape import FixedTape

        self.shape = shape
        self.queue = queue
        self.device = device
        self.tape = FixedTape(shape, device)
        tape = self.tape
        table = tape.partial_count, tape.partial, tape.full_count, tape.full
        self.fused = DocumentAttention(tape.starts, table, network.slopes, shape.dims.extra_tokens)
        self.attend: Attention = self.fused
        self.scores: TapeScores
        self._network = network
        self.again: Callable[[], None] = self.work

    def lay(self, laid: FixedTape, attend: Attention) -> None:
        """Take over some tape that was laid on the processor, for the device to become ready with."""
        self.tape.copy(laid)
        self.attend = attend

    def run_on(self, staged: FixedTape) -> None:
        """Take over a tape that is on the device, and run it."""
        self.tape.copy(staged)
        self.again()

    def work(self) -> None:
        """Run the tape that lies there, operation by operation."""
        self.scores = self._network.score(self.tape, self.attend)


class Lane:
    """The memory of one calling thread at a time, for every size of tape."""

    def __init__(self) -> None:
        self._buffers: dict[int, Buffers] = {}

    def buffers(self, program: Program) -> Buffers:
        """Return this lane's memory for a size of tape."""
        if program.shape.tokens not in self._buffers:
            self._buffers[program.shape.tokens] = Buffers(program)
        return self._buffers[program.shape.tokens]


class Buffers:
    """Where a tape is laid, where it waits on the device for its turn, and where its scores come back to."""

    def __init__(self, program: Program) -> None:
        import torch

        from emotape.model.fixed_tape import FixedTape

        shape, pinned = program.shape, program.queue.pins
        self.laid = FixedTape(shape, pinned=pinned)
        self.staged = FixedTape(shape, program.device)
        classes, width = shape.dims.classes, shape.dims.embed_dim
        self.embeddings = torch.empty(shape.clips, width, pin_memory=pinned)
        self.logits = torch.empty(shape.clips, classes, pin_memory=pinned)
        self.frame_logits = torch.empty(shape.tokens, classes, pin_memory=pinned)

    def take(self, scores: TapeScores, layout: Layout) -> None:
        """Copy the scores of a tape's clips from the device, without waiting for them."""
        clips, tokens = len(layout.places), layout.tokens
        self.embeddings[:clips].copy_(scores.embeddings[:clips], non_blocking=True)
        if scores.logits is not None and scores.frame_logits is not None:
            self.logits[:clips].copy_(scores.logits[:clips], non_blocking=True)
            self.frame_logits[:tokens].copy_(scores.frame_logits[:tokens], non_blocking=True)

    def answers(self, layout: Layout, per_frame: Sequence[NDArray[np.float32] | None]) -> list[ClipScores]:
        """Return the scores of each clip, in memory of their own: the next tape's come to the same place."""
        answers, begin = [], 0
        for index, (place, frames) in enumerate(zip(layout.places, per_frame, strict=True)):
            embedding = self.embeddings[index].numpy().copy()
            logits = frame_logits = None
            stop = begin + place.tokens
            if self.logits.shape[1]:
                logits = self.logits[index].numpy().copy()
                frame_logits = self.frame_logits[stop - place.frames : stop].numpy().copy()
            answers.append(ClipScores(embedding, logits, frame_logits, frames))
            begin = stop
        return answers

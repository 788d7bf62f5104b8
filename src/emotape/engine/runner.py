"""A tape goes through the network on one device; what comes back are plain arrays."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from emotape.engine.tape import collate, lay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform
    from emotape.engine.plan import Arithmetic
    from emotape.model.dims import Dims
    from emotape.model.weights import LoadedModel


_RETURNED: Final = 8 << 20  # bytes; with twice as much kept, a small network hardly asks for pages


@dataclass(frozen=True, eq=False)
class ClipScores:
    """What the network says of one clip of T frames.

    embedding         float32 [D], the mean over frames
    logits            float32 [C]; None for an embedding-only network
    frame_logits      float32 [T, C]; with a linear head their mean is `logits`. None for an embedding-only network
    frame_embeddings  float32 [T, D], only when asked for
    """

    embedding: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    frame_logits: NDArray[np.float32] | None
    frame_embeddings: NDArray[np.float32] | None = None

    @property
    def is_finite(self) -> bool:
        """Whether all of it is numbers: what is none in any frame is none in the mean."""
        means = (self.embedding,) if self.logits is None else (self.embedding, self.logits)
        return all(np.isfinite(mean).all() for mean in means)


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip to run, and whether the embedding of every frame is wanted."""

    waveform: Waveform
    frame_embeddings: bool = False


class Runner(Protocol):
    """Runs tapes on one device. Called from one thread at a time, unless it says that it has several lanes."""

    device: str
    dims: Dims

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Run clips as one tape; one answer per clip, in order."""


class TorchRunner:
    """The network in PyTorch on one device."""

    def __init__(
        self,
        model: LoadedModel,
        device: str = "cpu",
        arithmetic: Arithmetic | None = None,
        threads: int | None = None,
        lanes: int = 1,
    ) -> None:
        """Take over `model`: on the CPU an `arithmetic` lays its weights out anew, elsewhere they are moved.

        Without an arithmetic the network runs as it is, in the dtype of its weights. On the CPU, `threads` share the
        work on a tape; None leaves products to as many as torch has been told. `lanes` is how many threads may run
        tapes at once.
        """
        from emotape.model.packed import pack
        from emotape.model.team import ALONE, Team

        self.device = device
        self.lanes = lanes
        self.dims = model.dims
        self.arithmetic: Arithmetic = arithmetic or "float32"
        shares = threads is not None and device == "cpu"
        self._team = Team(threads or 1, lanes) if shares else ALONE
        packing = arithmetic if device == "cpu" and arithmetic != "float16" else None
        self._encoder = pack(model.encoder, packing) if packing else model.encoder.to(device)
        if device == "cpu":
            _keep_freed_memory()

    @property
    def dtype(self) -> torch.dtype:
        """The arithmetic of the weights."""
        return self._encoder.alibi_scale.dtype

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Run clips as one tape; one answer per clip, in order."""
        import torch

        from emotape.model.attention import ClipAttention
        from emotape.model.encoder import TapeTensors
        from emotape.model.pieces import whole
        from emotape.model.team import ALONE, multiplying_alone

        layout = lay([len(clip.waveform) for clip in clips], self.dims)
        tape = collate([clip.waveform for clip in clips], layout, self.dims)
        lengths = [place.tokens for place in layout.places]
        with torch.inference_mode(), nullcontext() if self._team is ALONE else multiplying_alone():
            tape = TapeTensors(
                tape.wave.to(self.device, self.dtype),
                tape.keep.to(self.device, self.dtype),
                tape.tokens.to(self.device),
            )
            tape = whole(tape, self.dims)
            vectors = self._encoder(
                tape, lambda slopes: ClipAttention(lengths, self.dims.extra_tokens, slopes, self._team), self._team
            )
            return [
                self._scores(part[self.dims.extra_tokens :], clip)
                for part, clip in zip(vectors[: layout.tokens].split_with_sizes(lengths), clips, strict=True)
            ]

    def _scores(self, frames: torch.Tensor, clip: Clip) -> ClipScores:
        frames = frames.float()
        embedding = frames.mean(0)
        logits = frame_logits = None
        if self.dims.classes:
            logits = self._encoder.logits(embedding).cpu().numpy()
            frame_logits = self._encoder.logits(frames).cpu().numpy()
        # A copy: a view would keep the whole tape's activations alive as long as one caller holds the result.
        per_frame = frames.cpu().numpy().copy() if clip.frame_embeddings else None
        return ClipScores(embedding.cpu().numpy(), logits, frame_logits, per_frame)

    def warm_up(self) -> None:
        """Run a second of silence, so that the first caller does not pay for one-time work."""
        from emotape.audio.waveform import SAMPLE_RATE, Waveform

        self.run([Clip(Waveform(np.zeros(SAMPLE_RATE, np.float32)))])


def _keep_freed_memory() -> None:
    """Let the C library keep what a tape frees for the next one.

    At first it returns to the system whatever is free at the end of its heap beyond 128 KB, and gets it back page by
    page, empty, at every layer. glibc keeps twice as much as the largest block that was ever returned by itself.
    """
    import torch

    torch.empty(_RETURNED, dtype=torch.uint8)  # never touched, so it takes no memory; returned at once


class FakeRunner:
    """A runner without a network, for tests at this seam: a clip's scores are made of its own samples alone.

    `failing(clip)` says which clips raise, whoever lies beside them; `ran` keeps the lengths of every tape.
    """

    device = "fake"

    def __init__(self, dims: Dims, failing: Callable[[Clip], bool] = lambda _: False) -> None:
        self.dims = dims
        self.ran: list[list[int]] = []
        self._failing = failing

    def run(self, clips: Sequence[Clip]) -> list[ClipScores]:
        """Score every clip by its mean, or raise if one of them is failing."""
        if any(self._failing(clip) for clip in clips):
            raise RuntimeError("this clip breaks the network")
        self.ran.append([len(clip.waveform) for clip in clips])
        return [self._scores(clip) for clip in clips]

    def _scores(self, clip: Clip) -> ClipScores:
        mean = np.float32(clip.waveform.samples.mean())
        frames = np.full((self.dims.frames(len(clip.waveform)), 1), mean, np.float32)
        logits = np.zeros(self.dims.classes, np.float32)
        logits[:1] = mean
        return ClipScores(frames[0], logits, frames * (logits[None] != 0), frames if clip.frame_embeddings else None)

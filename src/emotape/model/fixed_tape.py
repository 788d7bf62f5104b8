"""The network on tapes of fixed sizes, from samples to scores, in one go that a graphics card can record and repeat.

A recorded run works on the same memory each time: the next tape is copied into it. So a tape of fixed size holds all
that tells its clips apart as numbers: where they lie, whose frame is whose, how many there are. What is left of a tape
beyond its clips is computed and discarded; no clip reads it.

Shapes: R rows of `stride` samples, F frames, N tokens, K clips at most, Q blocks of tokens; D = embed_dim; C = classes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from emotape.model.accelerated import FRAMES_AT_ONCE, Float8Linear, PositionProducts, StridedProducts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from emotape.model.attention import Attention
    from emotape.model.dims import Dims
    from emotape.model.encoder import Encoder

_ALIGNED: Final = 32  # numbers; kernels read 16 bytes at a time where an array begins at such a place


@dataclass(frozen=True)
class TapeShape:
    """A size of tape: how many tokens it has room for, in blocks of `block`, and what follows from that."""

    tokens: int
    dims: Dims
    block: int

    @property
    def clips(self) -> int:
        """Most clips that its tokens can belong to: each has a frame at least."""
        return self.tokens // (self.dims.extra_tokens + 1)

    @property
    def frames(self) -> int:
        """Frames that clips with so many tokens take on a tape, the gaps between them included."""
        gaps = max(0, self.dims.position_reach - self.dims.extra_tokens) * self.clips
        return self.tokens + gaps

    @property
    def samples(self) -> int:
        """Samples that these frames are made of."""
        return (self.frames - 1) * self.dims.stride + self.dims.field

    @property
    def rows(self) -> int:
        """Rows of samples; a clip may reach a little further than its last frame sees."""
        return -(-self.samples // self.dims.stride) + 1

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every array of numbers that describes a tape."""
        blocks, clips = self.tokens // self.block, self.clips + 1
        return {
            "keep": (self.frames,),
            "tokens": (self.tokens,),
            "starts": (self.tokens,),
            "token_clips": (self.tokens,),
            "row_clips": (self.rows,),
            "row_samples": (self.rows,),
            "clip_frames": (clips,),
            "clip_samples": (clips,),
            "partial_count": (blocks,),
            "partial": (blocks, blocks),
            "full_count": (blocks,),
            "full": (blocks, blocks),
        }


class FixedTape:
    """A tape of fixed size: its samples, and its numbers side by side in one array, so that copying it is two copies.

    wave           [R, stride]  float32, as recorded
    keep           [F]    1 for a frame that belongs to a clip
    tokens         [N]    for every token, its row in [extra tokens; frames of the tape]
    starts         [N]    the first token of its clip
    token_clips    [N]    the clip that a frame counts for, K for none
    row_clips      [R]    the clip whose samples lie in a row, K for none
    row_samples    [R]    how many of a row's samples belong to it
    clip_frames    [K+1]  frames of each clip, 1 for those that are not there
    clip_samples   [K+1]  samples of each clip, likewise
    partial_count, partial, full_count, full: what attention looks at, as in BlockTable
    """

    keep: Tensor
    tokens: Tensor
    starts: Tensor
    token_clips: Tensor
    row_clips: Tensor
    row_samples: Tensor
    clip_frames: Tensor
    clip_samples: Tensor
    partial_count: Tensor
    partial: Tensor
    full_count: Tensor
    full: Tensor

    def __init__(self, shape: TapeShape, device: str = "cpu", *, pinned: bool = False) -> None:
        """With `pinned` it lies in pages that a card copies from by itself."""
        self.shape = shape
        parts = shape.parts()
        sizes = [-(-torch.Size(part).numel() // _ALIGNED) * _ALIGNED for part in parts.values()]
        self.wave = torch.zeros(shape.rows, shape.dims.stride, device=device, pin_memory=pinned)
        self.numbers = torch.zeros(sum(sizes), dtype=torch.int32, device=device, pin_memory=pinned)
        for (name, part), values in zip(parts.items(), self.numbers.split_with_sizes(sizes), strict=True):
            setattr(self, name, values[: torch.Size(part).numel()].view(part))

    def copy(self, other: FixedTape) -> None:
        """Take over another tape of this shape, without waiting where the copy goes from device to device."""
        self.wave.copy_(other.wave, non_blocking=True)
        self.numbers.copy_(other.numbers, non_blocking=True)


@dataclass(frozen=True, eq=False)
class TapeScores:
    """What the network says of a tape, where it was computed.

    vectors       [N, D]    in the network's arithmetic
    embeddings    [K, D]    float32, the mean over each clip's frames
    logits        [K, C]    float32; None for an embedding-only network
    frame_logits  [N, C]    float32, of every token; None for an embedding-only network
    """

    vectors: Tensor
    embeddings: Tensor
    logits: Tensor | None
    frame_logits: Tensor | None


@dataclass(frozen=True, eq=False)
class _Steps:
    """What is compiled: samples normalised, a piece of the extractor, the positions, one block."""

    normalized: Callable[[FixedTape], Tensor]
    features: Callable[[Tensor], Tensor]
    placed: Callable[[Tensor, Tensor], Tensor]
    through: Callable[[nn.Module, Tensor, Attention], Tensor]

    def each(self) -> list[Callable[..., Tensor]]:
        return [getattr(self, field.name) for field in fields(self)]


class TapeNetwork(nn.Module):
    """The network in the forms that suit a graphics card, on one device."""

    def __init__(self, encoder: Encoder, device: str, arithmetic: str, piece: int) -> None:
        """Take over `encoder`, which must not be used afterwards.

        `arithmetic` is "float32", "bfloat16", "float16" or "float8"; with float8 the blocks' products take 8 bits and
        the rest is in bfloat16. `piece` is how many frames the strided convolutions make at a time, which bounds their
        memory. The head stays in fp32. Weights go one by one: no second copy of them all is ever made.
        """
        super().__init__()
        self.slopes = encoder.head_slopes().to(device)  # before they are rounded
        self.dtype: torch.dtype = torch.bfloat16 if arithmetic == "float8" else getattr(torch, arithmetic)
        for name, kept in encoder.named_parameters():
            kept.data = kept.data.to(device, torch.float32 if name.startswith("head.") else self.dtype)
        if arithmetic == "float8":
            _to_8_bits(encoder)
        self.dims = encoder.dims
        self.extractor = StridedProducts(encoder.extractor, piece)
        self.features = nn.Sequential(encoder.feature_norm, encoder.feature_proj)
        self.positions = PositionProducts(encoder.positions, FRAMES_AT_ONCE)
        self.extra_tokens, self.norm, self.head = encoder.extra_tokens, encoder.norm, encoder.head
        self.blocks = encoder.blocks
        self._logits = encoder.logits
        self._steps = self._plain = _Steps(normalized_wave, self.extractor.features, self._with_positions, _through)

    def compile(self, *_: Any, **options: Any) -> None:
        """Compile what repeats: a piece of the extractor, the positions, one block for all blocks.

        A whole network would take many times as long to compile, and a recorded run has no gaps to close between them.
        """
        compiled = [torch.compile(step, dynamic=False, **options) for step in self._plain.each()]
        self._steps = _Steps(*compiled)

    def forget_compiled(self) -> None:
        """Run every step as it is again."""
        self._steps = self._plain

    def forward(self, wave: Tensor, keep: Tensor, tokens: Tensor, attend: Attention) -> Tensor:
        """Map normalised samples [S] to a vector [N, D] for every token, as `Encoder.forward` does; never compiled."""
        return self._vectors(self._plain, wave, keep, tokens, attend)

    def logits(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., D] to logits [..., C]; see `Encoder.logits`."""
        y: Tensor = self._logits(vectors)
        return y

    def score(self, tape: FixedTape, attend: Attention) -> TapeScores:
        """Run a whole tape; what lies beyond its clips is in the result, too, and means nothing."""
        vectors = self._vectors(self._steps, self._wave(tape), tape.keep.to(self.dtype), tape.tokens, attend)
        exact = vectors.float()
        sums = exact.new_zeros(len(tape.clip_frames), exact.shape[1]).index_add_(0, tape.token_clips, exact)
        embeddings = sums / tape.clip_frames[:, None]
        if self.head is None:
            return TapeScores(vectors, embeddings, None, None)
        return TapeScores(vectors, embeddings, self._logits(embeddings), self._logits(exact))

    def steps(self, tape: FixedTape, attend: Attention) -> dict[str, Callable[[], object]]:
        """Return what a run does, step by step, so that each can be measured by itself on the tape that lies there."""
        keep = tape.keep.to(self.dtype)
        wave = self._wave(tape)
        features = self.extractor(wave, self._steps.features)
        placed = self._steps.placed(features, keep[:, None])
        x = self.norm(torch.cat([self.extra_tokens, placed]).index_select(0, tape.tokens))
        block = self.blocks[0]
        return {
            "samples normalised": lambda: self._wave(tape),
            "strided convolutions": lambda: self.extractor(wave, self._steps.features),
            "positions": lambda: self._steps.placed(features, keep[:, None]),
            "one block": lambda: self._steps.through(block, x, attend),
            "one block without attention": lambda: self._steps.through(block, x, _values),
            "all": lambda: self.score(tape, attend),
        }

    def _wave(self, tape: FixedTape) -> Tensor:
        wave = self._steps.normalized(tape) if self.dims.normalize else tape.wave
        return wave.flatten()[: tape.shape.samples].to(self.dtype)

    def _vectors(self, steps: _Steps, wave: Tensor, keep: Tensor, tokens: Tensor, attend: Attention) -> Tensor:
        x = steps.placed(self.extractor(wave, steps.features), keep[:, None])
        x = self.norm(torch.cat([self.extra_tokens, x]).index_select(0, tokens))
        for block in self.blocks:
            x = steps.through(block, x, attend)
        return x

    def _with_positions(self, features: Tensor, keep: Tensor) -> Tensor:
        x: Tensor = self.features(features) * keep
        positions: Tensor = self.positions(x, keep)
        return x + positions


def _through(block: nn.Module, x: Tensor, attend: Attention) -> Tensor:
    y: Tensor = block(x, attend)
    return y


def _values(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend to nothing but oneself."""
    del query, key
    return value


def normalized_wave(tape: FixedTape) -> Tensor:
    """Return the tape's samples [R, stride] with zero mean and unit variance over each clip.

    The mean is taken first and the variance of what is left, as a recording may lie far off zero.
    """
    column = torch.arange(tape.wave.shape[1], device=tape.wave.device)
    inside = column < tape.row_samples[:, None]
    level = _by_clip(tape.wave.where(inside, 0), tape)[tape.row_clips]
    centred = (tape.wave - level[:, None]).where(inside, 0)
    variance = _by_clip(centred.square(), tape)[tape.row_clips]
    return centred * (variance + 1e-5).rsqrt()[:, None]  # the epsilon of torch's layer_norm, as in the reference


def _by_clip(values: Tensor, tape: FixedTape) -> Tensor:
    """Return the mean of values [R, stride] over each clip [K+1]."""
    sums = values.new_zeros(len(tape.clip_samples)).index_add_(0, tape.row_clips, values.sum(1))
    return sums / tape.clip_samples


def _to_8_bits(encoder: Encoder) -> None:
    for block in encoder.blocks:
        for name, layer in list(block.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(block, name, Float8Linear(layer))


def sizes_up_to(tokens: int, smallest: int) -> tuple[int, ...]:
    """Return the sizes that take tapes of up to `tokens` tokens: doubling, so that less than half is waste."""
    sizes = [smallest]
    while sizes[-1] < tokens:
        sizes.append(2 * sizes[-1])
    return tuple(sizes)

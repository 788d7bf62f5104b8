"""The tape: clips of any lengths laid on one wave so that each gets exactly the frames it would get alone.

Three facts of the network make it exact and free of padding:

- A clip that starts at a multiple of the stride (320 samples) gets its own frames from the strided convolutions; frames
  that straddle its end are never read.
- Between clips lie at least as many empty frames as a positional convolution reaches (9). They are zeroed before each
  of these convolutions, which is what the zero padding does to a clip alone.
- Attention never crosses a clip's border.

Everything but `collate` is pure arithmetic on lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.audio.waveform import Waveform
    from emotape.model.dims import Dims
    from emotape.model.encoder import TapeTensors


@dataclass(frozen=True)
class Place:
    """Where one clip lies: its first sample, its first frame, and how many frames and tokens it has."""

    sample: int
    frame: int
    frames: int
    tokens: int


@dataclass(frozen=True)
class Layout:
    """Where every clip of a tape lies, and how long the tape is."""

    places: tuple[Place, ...]
    samples: int
    frames: int

    @property
    def tokens(self) -> int:
        """Tokens of all clips: what attention and the blocks work on."""
        return sum(place.tokens for place in self.places)


def lay(lengths: Sequence[int], dims: Dims) -> Layout:
    """Lay clips of `lengths` samples on one tape, in order.

    Every clip needs at least one frame (`dims.field` samples); ValueError otherwise.
    """
    places = []
    frame = 0
    for samples in lengths:
        frames = dims.frames(samples)
        if frames == 0:
            raise ValueError(f"a clip of {samples} samples has no frame")
        places.append(Place(frame * dims.stride, frame, frames, frames + dims.extra_tokens))
        frame += frames + dims.position_reach
    last = places[-1]
    samples = last.sample + lengths[-1]
    return Layout(tuple(places), samples, dims.frames(samples))


def choose(waiting: Sequence[Sequence[int]], capacity: int) -> tuple[int, ...]:
    """Decide how many of each caller's next clips go on the next tape.

    `waiting[i]` holds the tokens of caller i's clips in order, callers in order of arrival. One clip a caller and
    round, so that a long recording does not hold up short ones; the first clip always goes, however long. Within a
    round a clip that does not fit is passed over, and a caller passed over takes no further part, which keeps their
    order.
    """
    taken = [0] * len(waiting)
    open_callers = [caller for caller, clips in enumerate(waiting) if clips]
    room = capacity
    while open_callers:
        still_open = []
        for caller in open_callers:
            tokens = waiting[caller][taken[caller]]
            if tokens > room and any(taken):
                continue
            taken[caller] += 1
            room -= tokens
            if taken[caller] < len(waiting[caller]):
                still_open.append(caller)
        open_callers = still_open
    return tuple(taken)


def collate(clips: Sequence[Waveform], layout: Layout, dims: Dims) -> TapeTensors:
    """Put the samples of `clips`, normalised one by one if the model wants it, where `layout` says."""
    import torch

    from emotape.model.encoder import TapeTensors, normalized

    wave = torch.zeros(layout.samples)
    keep = torch.zeros(layout.frames)
    tokens = []
    extra = torch.arange(dims.extra_tokens)
    for clip, place in zip(clips, layout.places, strict=True):
        samples = torch.tensor(clip.samples)
        wave[place.sample : place.sample + len(clip)] = normalized(samples) if dims.normalize else samples
        keep[place.frame : place.frame + place.frames] = 1
        tokens += [extra, torch.arange(place.frame, place.frame + place.frames) + dims.extra_tokens]
    return TapeTensors(wave, keep, torch.cat(tokens))

"""Clips become a tape of fixed size, in memory that a device copies from.

Samples go there as they are: the device normalises them, so that all the processor does is one copy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from emotape.model.block_table import block_table, clip_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from emotape.audio.waveform import Waveform
    from emotape.engine.tape import Layout
    from emotape.model.fixed_tape import FixedTape, TapeShape


def fits(layout: Layout, shape: TapeShape) -> bool:
    """Say whether a tape has room for clips that lie as in `layout`."""
    return (
        layout.tokens <= shape.tokens
        and layout.frames <= shape.frames
        and layout.samples <= shape.rows * shape.dims.stride
        and len(layout.places) <= shape.clips
    )


def fill(tape: FixedTape, clips: Sequence[Waveform], layout: Layout) -> None:
    """Write `clips`, which lie as in `layout`, over whatever `tape` held. It must fit, and be in the host's memory."""
    _fill_samples(tape.wave.numpy().reshape(-1), clips, layout)
    _fill_rows(tape, clips, layout)
    _fill_tokens(tape, layout)
    lengths = [place.tokens for place in layout.places]
    starts, stops = clip_bounds(lengths, tape.shape.tokens, tape.shape.block)
    table = block_table(starts, stops, tape.shape.block)
    tape.starts.numpy()[:] = starts
    for name in ("partial_count", "partial", "full_count", "full"):
        getattr(tape, name).numpy()[:] = getattr(table, name)


def _fill_samples(wave: NDArray[np.float32], clips: Sequence[Waveform], layout: Layout) -> None:
    """Lay samples [S]; between clips lies silence, as what was there before may be no number."""
    begins = [*(place.sample for place in layout.places), len(wave)]
    for clip, (begin, following) in zip(clips, pairwise(begins), strict=True):
        wave[begin : begin + len(clip)] = clip.samples
        wave[begin + len(clip) : following] = 0


def _fill_rows(tape: FixedTape, clips: Sequence[Waveform], layout: Layout) -> None:
    """Say of every row of samples which clip it belongs to, and of how many of them. Clips begin at rows."""
    stride = tape.shape.dims.stride
    owners, samples = tape.row_clips.numpy(), tape.row_samples.numpy()
    owners[:], samples[:] = tape.shape.clips, 0
    lengths = tape.clip_samples.numpy()
    lengths[:] = 1
    for index, (clip, place) in enumerate(zip(clips, layout.places, strict=True)):
        whole, rest = divmod(len(clip), stride)
        owners[place.frame : place.frame + whole + 1] = index
        samples[place.frame : place.frame + whole] = stride
        samples[place.frame + whole] = rest
        lengths[index] = len(clip)


def _fill_tokens(tape: FixedTape, layout: Layout) -> None:
    """Say of every token where it comes from, and which clip it counts for; extra tokens count for none."""
    extra = tape.shape.dims.extra_tokens
    keep, tokens, owners = tape.keep.numpy(), tape.tokens.numpy(), tape.token_clips.numpy()
    keep[:], tokens[:], owners[:] = 0, 0, tape.shape.clips
    frames = tape.clip_frames.numpy()
    frames[:] = 1
    begin = 0
    for index, place in enumerate(layout.places):
        keep[place.frame : place.frame + place.frames] = 1
        tokens[begin : begin + extra] = np.arange(extra)
        tokens[begin + extra : begin + place.tokens] = extra + place.frame + np.arange(place.frames)
        owners[begin + extra : begin + place.tokens] = index
        frames[index] = place.frames
        begin += place.tokens

"""The batch law: whatever lies beside a clip on the tape, it gets what it would get alone, and nothing is lost."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emotape.engine.runner import Clip, ClipScores, TorchRunner
from emotape.engine.tape import choose, collate, lay
from emotape.model.dims import Convolution, Dims
from emotape.model.weights import load
from tests.conftest import GOLDEN

if TYPE_CHECKING:
    from emotape.audio.waveform import Waveform

OFFICIAL = Dims(
    embed_dim=1024, heads=16, prenet_depth=4, depth=8, mlp_dim=4096,
    convolutions=(Convolution(512, 10, 5), *[Convolution(512, 3, 2)] * 4, *[Convolution(512, 2, 2)] * 2),
    position_layers=5, position_kernel=19, position_groups=16, extra_tokens=10, norm_eps=1e-5, normalize=True,
)  # fmt: skip
lengths = st.lists(st.integers(400, 30_000), min_size=1, max_size=6)


def test_official_geometry() -> None:
    """A frame every 20 ms that sees 25 ms, and nine frames between clips."""
    assert (OFFICIAL.stride, OFFICIAL.field, OFFICIAL.position_reach) == (320, 400, 9)
    assert [OFFICIAL.frames(samples) for samples in (0, 399, 400, 719, 720, 160_000)] == [0, 0, 1, 1, 2, 499]


@given(lengths)
def test_layout_keeps_clips_apart(samples: list[int]) -> None:
    """Clips start on frames, never overlap, and lie at least a positional convolution's reach apart."""
    layout = lay(samples, OFFICIAL)
    for place, length in zip(layout.places, samples, strict=True):
        assert place.sample == place.frame * OFFICIAL.stride
        assert place.frames == OFFICIAL.frames(length)
        assert place.tokens == place.frames + OFFICIAL.extra_tokens
    for before, after, length in zip(layout.places, layout.places[1:], samples, strict=False):
        assert before.sample + length <= after.sample
        assert before.frame + before.frames + OFFICIAL.position_reach <= after.frame
    last = layout.places[-1]
    assert layout.samples == last.sample + samples[-1]
    assert layout.frames == last.frame + last.frames


def test_a_clip_without_a_frame_is_refused() -> None:
    """Nobody gets scores of nothing."""
    with pytest.raises(ValueError, match="no frame"):
        lay([400, 399], OFFICIAL)


@given(lengths)
def test_collate_loses_no_sample_and_no_frame(samples: list[int]) -> None:
    """Every clip's normalised samples lie at its place; every frame of every clip is one token, in order."""
    import torch

    from emotape.audio.waveform import Waveform

    random = np.random.default_rng(len(samples))
    clips = [Waveform(random.standard_normal(length).astype(np.float32)) for length in samples]
    layout = lay(samples, OFFICIAL)
    tape = collate(clips, layout, OFFICIAL)
    assert tape.wave.shape == (layout.samples,)
    assert len(tape.tokens) == layout.tokens
    assert int(tape.keep.sum()) == sum(place.frames for place in layout.places)
    rest = torch.ones(layout.samples, dtype=torch.bool)
    for clip, place in zip(clips, layout.places, strict=True):
        laid = tape.wave[place.sample : place.sample + len(clip)]
        rest[place.sample : place.sample + len(clip)] = False
        wanted = (clip.samples - clip.samples.mean()) / np.sqrt(clip.samples.var() + 1e-5)
        np.testing.assert_allclose(laid.numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert not tape.wave[rest].any()


@cache
def _runner(network: str) -> TorchRunner:
    return TorchRunner(load(GOLDEN / network))


def _assert_same(found: ClipScores, wanted: ClipScores) -> None:
    for name in ("embedding", "logits", "frame_logits", "frame_embeddings"):
        one, other = getattr(found, name), getattr(wanted, name)
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("network", ["large_like", "base_like"])
def test_batched_equals_alone(network: str, noise: Waveform, data: st.DataObject) -> None:
    """Any lengths in any order on one tape give each clip what it gets alone, within 1e-5."""
    runner = _runner(network)
    starts = data.draw(st.lists(st.tuples(st.integers(0, 30_000), st.integers(400, 24_000)), min_size=1, max_size=6))
    clips = [Clip(noise.part(start, start + length), frame_embeddings=True) for start, length in starts]
    for clip, together in zip(clips, runner.run(clips), strict=True):
        _assert_same(together, runner.run([clip])[0])


def test_attention_in_blocks_equals_attention_at_once(noise: Waveform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Splitting the queries bounds memory and changes nothing."""
    runner = _runner("base_like")
    clip = Clip(noise.part(0, 40_000), frame_embeddings=True)
    (whole,) = runner.run([clip])
    monkeypatch.setattr("emotape.model.attention._ROWS", 7)
    (blocks,) = runner.run([clip])
    _assert_same(blocks, whole)


waiting = st.lists(st.lists(st.integers(11, 1_600), max_size=5), max_size=8)


@given(waiting, st.integers(1, 4_000))
def test_choose_keeps_to_the_capacity_and_always_moves(callers: list[list[int]], capacity: int) -> None:
    """A tape holds no more than its capacity unless a single clip is longer; some clip always goes."""
    taken = choose(callers, capacity)
    assert all(0 <= count <= len(clips) for count, clips in zip(taken, callers, strict=True))
    tokens = sum(sum(clips[:count]) for count, clips in zip(taken, callers, strict=True))
    assert tokens <= capacity or sum(taken) == 1
    assert any(taken) == any(callers)


@given(waiting, st.integers(1, 4_000))
def test_choosing_again_and_again_takes_every_clip_once(callers: list[list[int]], capacity: int) -> None:
    """Packing loses nothing: the tapes together hold every clip exactly once, in each caller's order."""
    left = [list(clips) for clips in callers]
    tapes = 0
    while any(left):
        for caller, count in enumerate(choose(left, capacity)):
            del left[caller][:count]
        tapes += 1
        assert tapes <= sum(map(len, callers))


def test_a_long_recording_does_not_hold_up_a_short_one() -> None:
    """With a hundred windows before it, a later caller's clip is still on the first tape."""
    assert choose([[500] * 100, [100]], capacity=1_600) == (3, 1)

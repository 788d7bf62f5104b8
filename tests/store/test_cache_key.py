"""The cache's key: it changes exactly when content, weights or options change."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies
from hypothesis.strategies import SearchStrategy, booleans, builds, composite, floats, sampled_from

from emotape.audio.waveform import SAMPLE_RATE
from emotape.audio.window import WindowOptions
from emotape.engine.result import GRANULARITIES
from emotape.engine.segments import SegmentOptions
from emotape.engine.wanted import Wanted
from emotape.store.cache.key import Network, Sound, cache_key

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

ROOT = Path(__file__).parents[2]
Request = tuple[Sound, Wanted, Network, WindowOptions, SegmentOptions]


def sounds() -> SearchStrategy[Sound]:
    channel = strategies.tuples(sampled_from("abc"), sampled_from([400, SAMPLE_RATE, 31 * SAMPLE_RATE]))
    # One digest has one length.
    channels = strategies.lists(channel.map(lambda pair: (f"{pair[0]}{pair[1]}", pair[1])), min_size=1, max_size=3)
    return channels.map(lambda made: Sound(tuple(digest for digest, _ in made), tuple(count for _, count in made)))


PARTS: tuple[SearchStrategy[Any], ...] = (
    sounds(),
    builds(Wanted, sampled_from(GRANULARITIES), booleans(), booleans()),
    builds(Network, sampled_from("xy"), sampled_from(["float32", "int8"]), sampled_from(["1", "2"])),
    builds(WindowOptions, sampled_from([1.0, 30.0, 60.0]), floats(0, 1)),
    builds(SegmentOptions, sampled_from([0.5, 1.0]), floats(0, 2)),
)


@composite
def pairs(draw: DrawFn) -> tuple[Request, Request]:
    """Two requests that differ in any of their parts, or in none."""
    one = tuple(draw(part) for part in PARTS)
    return one, tuple(draw(part) if draw(booleans()) else same for part, same in zip(PARTS, one, strict=True))


def meaning(request: Request) -> tuple[object, ...]:
    """What an answer depends on, said another way than the key says it."""
    sound, wanted, network, window, segment = request
    longest = max(sound.samples) / SAMPLE_RATE
    return (
        sound.digests,
        astuple(wanted),
        astuple(network),
        astuple(window) if longest > window.longest else "whole",
        astuple(segment) if wanted.granularity == "segment" else "unused",
    )


@given(pairs())
def test_the_key_changes_exactly_when_content_weights_or_options_change(pair: tuple[Request, Request]) -> None:
    one, other = pair
    assert (cache_key(*one) == cache_key(*other)) == (meaning(one) == meaning(other))


CUT = (Sound(("a",), (31 * SAMPLE_RATE,)), Wanted("segment", embedding=False, quality=False))
PLACES: list[tuple[int, Any]] = [
    (1, CUT[1]),
    (2, Network("weights", "float32")),
    (3, WindowOptions()),
    (4, SegmentOptions()),
]


@pytest.mark.parametrize(
    ("place", "name"), [(place, field.name) for place, options in PLACES for field in fields(options)]
)
def test_every_option_there_is_takes_part(place: int, name: str) -> None:
    """Also one that is added to these classes tomorrow."""
    request: list[Any] = [CUT[0], *(options for _, options in PLACES)]
    before = cache_key(*request)
    value = getattr(request[place], name)
    changed = "frame" if name == "granularity" else (not value if isinstance(value, bool) else value * 2)
    request[place] = replace(request[place], **{name: changed})
    assert cache_key(*request) != before


REQUEST = (Sound(("a",), (400,)), CUT[1], Network("weights", "float32"), WindowOptions(), SegmentOptions())
ELSEWHERE = "from tests.store.test_cache_key import REQUEST, cache_key; print(cache_key(*REQUEST))"


def test_the_key_is_the_same_in_every_process() -> None:
    """Servers that share a Redis, and a server after its restart, find what they kept."""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.check_output([sys.executable, "-c", ELSEWHERE], text=True, env=environment, cwd=ROOT)
    assert printed.strip() == cache_key(*REQUEST)

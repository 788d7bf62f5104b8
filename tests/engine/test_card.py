"""How long tapes may be follows from a card's free memory: more is never worse, and a window always has room."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotape.engine.card import LARGEST_TAPE, MOST_FRAMES, WINDOW_TAPE, needed_bytes, piece_of, tape_tokens_for
from tests.engine.test_tape import OFFICIAL

GIB = 1 << 30
arithmetics = st.sampled_from(["float32", "bfloat16", "float16", "float8"])


@given(st.integers(0, 4 * GIB), st.integers(0, 4 * GIB), arithmetics)
def test_more_memory_never_means_shorter_tapes(one: int, other: int, arithmetic: str) -> None:
    least, most = sorted((one, other))
    assert tape_tokens_for(least, OFFICIAL, arithmetic) <= tape_tokens_for(most, OFFICIAL, arithmetic)


@given(st.integers(0, 4 * GIB), arithmetics)
def test_what_is_chosen_fits_or_is_the_least_that_a_window_needs(free: int, arithmetic: str) -> None:
    tokens = tape_tokens_for(free, OFFICIAL, arithmetic)
    assert WINDOW_TAPE <= tokens <= LARGEST_TAPE
    assert OFFICIAL.frames(30 * 16_000) + OFFICIAL.extra_tokens <= WINDOW_TAPE
    assert tokens == WINDOW_TAPE or needed_bytes(tokens, OFFICIAL, arithmetic) <= free


@pytest.mark.parametrize(("tokens", "most"), [(LARGEST_TAPE, 1.5e9), (WINDOW_TAPE, 0.6e9)])
def test_the_large_network_in_halves_keeps_to_the_limits_that_were_set(tokens: int, most: float) -> None:
    """1.5 GB for full speed, 0.6 GB for the smallest tapes that take any window."""
    assert needed_bytes(tokens, OFFICIAL, "float16") <= most


@given(st.integers(1, 100_000))
def test_pieces_divide_the_tapes_that_are_longer(tokens: int) -> None:
    """A piece of another size would be compiled for itself."""
    tokens = 256 << (tokens % 8)
    piece: Any = piece_of(tokens)
    assert piece <= MOST_FRAMES
    assert tokens <= piece or tokens % piece == 0

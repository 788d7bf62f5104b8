"""JSON in pieces says what JSON at once says, and never holds much of it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from emotape.delivery.export import pieces as module
from emotape.delivery.export.pieces import Numbers, as_it_is, pieces

plain = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
shapes = arrays.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=40)
numbers = st.builds(
    Numbers, arrays.arrays(np.float32, shapes, elements=st.floats(-1e3, 1e3, width=32)), st.sampled_from([6, None])
)
values = st.recursive(
    plain | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def whole(value: Any) -> Any:
    """Return the value with lists in place of arrays."""
    if isinstance(value, Numbers):
        return value.lists()
    if isinstance(value, dict):
        return {name: whole(each) for name, each in value.items()}
    return [whole(each) for each in value] if isinstance(value, list) else value


@given(values, st.booleans())
def test_pieces_together_are_the_text_at_once(value: Any, compact: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", 7)
        text = "".join(pieces(value, compact=compact))
    assert json.loads(text) == whole(value)
    assert text == "".join(pieces(value, compact=compact)), "how many are written at once changes the text"


def test_a_text_without_arrays_is_as_json_writes_it() -> None:
    value = {"生气": [1, 2.5, None], "file": 'a "b".wav'}
    assert list(pieces(value)) == [json.dumps(value, ensure_ascii=False)]
    assert list(pieces(value, compact=True)) == [json.dumps(value, ensure_ascii=False, separators=(",", ":"))]


def test_numbers_are_rounded_or_exact() -> None:
    third = np.full(1, 1 / 3, np.float32)
    assert json.loads("".join(pieces([Numbers(third), Numbers(third, None)]))) == [[0.333333], [float(third[0])]]
    assert as_it_is(exact := Numbers(third)) is exact


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        list(pieces({"labels": {1}}))
    with pytest.raises(ValueError, match="JSON"):
        list(pieces(Numbers(np.full(1, np.nan, np.float32))))


@pytest.mark.parametrize("shape", [(1_000_000,), (100_000, 10)])
def test_a_long_recording_is_never_whole_in_memory(shape: tuple[int, ...]) -> None:
    value = {"frames": Numbers(np.random.default_rng(0).random(shape, np.float32))}
    tracemalloc.start()
    try:
        longest, total = 0, 0
        for piece in pieces(value):
            longest, total = max(longest, len(piece)), total + len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > 8_000_000
    assert longest < 200_000
    assert peak < 4_000_000

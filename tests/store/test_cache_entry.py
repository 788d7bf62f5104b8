"""Entries of the cache: predictions as bytes and back, bit for bit, and no damage that is not noticed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emotape.audio.quality import Quality
from emotape.engine.result import GRANULARITIES, Prediction, Provenance, Segment
from emotape.model.labels import OFFICIAL, Label
from emotape.store.cache.entry import DamagedEntry, entry_size, own_copy, pack, seal, unpack, unseal

KEY, OTHER_KEY = "0f" * 32, "1f" * 32
words = st.text(max_size=6)
numbers = st.floats()
scores = st.dictionaries(words, numbers, max_size=3)
matrices = arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 4)))
labels = st.sampled_from(OFFICIAL) | st.builds(Label, words, words, words, words, words)
qualities = st.builds(Quality, numbers, numbers, numbers, numbers, numbers, st.lists(words, max_size=2).map(tuple))
predictions = st.builds(
    Prediction,
    emotion=st.none() | words,
    confidence=numbers,
    scores=scores,
    labels=st.lists(labels, max_size=3).map(tuple),
    granularity=st.sampled_from(GRANULARITIES),
    seconds=numbers,
    speech_seconds=numbers,
    windows=st.lists(st.tuples(numbers, numbers), max_size=3).map(tuple),
    provenance=st.builds(Provenance, words, words, words, st.booleans(), words, words, words),
    frames=st.none() | matrices,
    segments=st.lists(st.builds(Segment, numbers, numbers, st.none() | words, numbers, scores), max_size=3).map(tuple),
    embedding=st.none() | matrices | arrays(np.float32, st.integers(0, 9)),
    quality=st.none() | qualities,
    warnings=st.lists(words, max_size=3).map(tuple),
    stages=scores,
)
several = st.lists(predictions, max_size=3).map(tuple)


def exact(value: Any) -> Any:
    """A value as something that compares bit for bit, NaN and signed zero as well."""
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)


def same(one: Prediction, other: Prediction) -> bool:
    return all(exact(getattr(one, field.name)) == exact(getattr(other, field.name)) for field in fields(Prediction))


@given(several)
def test_every_prediction_comes_back_bit_for_bit(made: tuple[Prediction, ...]) -> None:
    """Whatever field it has: one that is added tomorrow must come back, too."""
    found = unpack(pack(made))
    assert len(found) == len(made)
    assert all(same(one, other) for one, other in zip(made, found, strict=True))
    assert pack(found) == pack(made)
    assert entry_size(made) <= len(pack(made))


@given(predictions)
def test_nobody_shares_an_array(made: Prediction) -> None:
    """What the caller of one answer does to its arrays, no other answer shows."""
    entry = pack([made])
    for one in (unpack(entry)[0], own_copy(made)):
        for array, original in ((one.frames, made.frames), (one.embedding, made.embedding)):
            if array is not None and original is not None:
                assert array.flags.writeable
                assert not np.shares_memory(array, original)
    assert pack([made]) == entry


@given(several, st.data())
def test_a_sealed_entry_that_was_changed_is_found_out(made: tuple[Prediction, ...], data: st.DataObject) -> None:
    """One bit, a cut, something more, another key: none of them passes."""
    sealed = seal(KEY, pack(made))
    assert unseal(KEY, sealed) == pack(made)
    assert unseal(OTHER_KEY, sealed) is None
    place = data.draw(st.integers(0, len(sealed) - 1))
    flipped = bytearray(sealed)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for changed in (bytes(flipped), sealed[:place], sealed + b"\0"):
        assert unseal(KEY, changed) is None


@given(st.binary(max_size=200))
def test_bytes_of_somebody_else_are_no_entry(foreign: bytes) -> None:
    assert unseal(KEY, foreign) is None
    with pytest.raises(DamagedEntry):
        unpack(foreign)


@settings(max_examples=200)
@given(predictions, st.data())
def test_an_entry_that_was_changed_reads_as_something_or_as_damaged(made: Prediction, data: st.DataObject) -> None:
    """Nothing else ever comes out of reading it, and nothing runs."""
    entry = bytearray(pack([made]))
    start = data.draw(st.integers(0, len(entry) - 1))
    entry[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    with suppress(DamagedEntry):
        assert all(isinstance(one, Prediction) for one in unpack(bytes(entry)))


def test_an_entry_with_other_fields_is_damaged(prediction: Prediction) -> None:
    """One that a version with more or fewer fields made is not filled up with defaults."""
    entry = pack([prediction])
    renamed = entry.replace(b'"speech_seconds"', b'"speech_minutes"')
    assert renamed != entry
    with pytest.raises(DamagedEntry):
        unpack(renamed)


def test_only_float32_is_kept(prediction: Prediction) -> None:
    """Rounding in silence would be a wrong answer."""
    object.__setattr__(prediction, "embedding", np.zeros(3))
    with pytest.raises(TypeError):
        pack([prediction])


@pytest.fixture
def prediction() -> Prediction:
    return Prediction(
        emotion="happy",
        confidence=0.5,
        scores={"happy": 0.5},
        labels=(OFFICIAL[3],),
        granularity="utterance",
        seconds=1.0,
        speech_seconds=1.0,
        windows=((0.0, 1.0),),
        provenance=Provenance("1", "m", "d", False, "float32", "cpu", "s"),  # noqa: FBT003 - positional fields
    )

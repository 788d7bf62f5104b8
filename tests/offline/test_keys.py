"""Keys: a set like any other, at a fraction of the memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from emotape.delivery.offline import keys
from emotape.delivery.offline.item import KEY_BYTES, Column, Item
from emotape.delivery.offline.keys import Keys
from emotape.errors import BadRequest

if TYPE_CHECKING:
    import pytest


def key(number: int) -> bytes:
    return hashlib.blake2b(b"%d" % number, digest_size=KEY_BYTES).digest()


@given(st.lists(st.integers(0, 40)), st.lists(st.integers(0, 60)))
def test_it_knows_exactly_what_was_added(added: list[int], asked: list[int]) -> None:
    """Also keys that end in zero bytes, and however often they were sorted in between."""
    with_zeros = {number: key(number)[:-2] + bytes(2) if number % 3 else key(number) for number in range(61)}
    few, keys._FEWEST = keys._FEWEST, 4  # type: ignore[misc]
    try:
        found = Keys()
        news = [found.add(with_zeros[number]) for number in added]
    finally:
        keys._FEWEST = few  # type: ignore[misc]
    assert news == [number not in added[:place] for place, number in enumerate(added)]
    assert len(found) == len(set(added))
    assert [with_zeros[number] in found for number in asked] == [number in added for number in asked]


def test_a_million_keys_take_some_thirty_bytes_each() -> None:
    found = Keys()
    for number in range(150_000):
        found.add(number.to_bytes(KEY_BYTES, "big"))
    taken = found._sorted.nbytes + 90 * len(found._recent)
    assert taken < 40 * len(found)


def test_a_key_is_that_of_path_columns_and_sound() -> None:
    """Equal lines of an input are one recording; whatever differs makes another."""
    items = [
        Item("a.wav", b""),
        Item("b.wav", b""),
        Item("a.wav", b"", "utt"),
        Item("a.wav", b"", carried={"speaker": "1"}),
        Item("a.wav", b"sound"),
    ]
    assert len({item.key() for item in items}) == len(items)
    assert Item("a.wav", BadRequest("batch_no_recording")).key() == Item("a.wav", BadRequest("stdin_twice")).key()
    assert Column("a", "string") == Column("a", "string")


def test_a_name_that_is_no_text_has_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Item("gr\udcfc.wav", b"").key() != Item("gr\udcfd.wav", b"").key()

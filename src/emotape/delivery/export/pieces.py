"""JSON of values with large arrays, in pieces.

Two hours of frames are millions of numbers. As lists and text they take twenty times the memory of the array, and
Python's encoder lets no other thread run until it has written them all; so they are written some thousand at a time.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

DIGITS: Final = 6
"""Decimals of a score in a document."""

_AT_ONCE: Final = 8_192  # numbers; they take some milliseconds


@dataclass(frozen=True, eq=False)
class Numbers:
    """An array on its way to JSON, where it becomes nested lists; rounded to `digits` decimals, or not at all."""

    values: NDArray[np.floating]
    digits: int | None = DIGITS

    def lists(self) -> Any:
        """Return all of it as plain values."""
        exact = self.values.astype(float)
        return (exact if self.digits is None else exact.round(self.digits)).tolist()

    def pieces(self) -> Iterator[str]:
        """Yield its text."""
        step = max(1, _AT_ONCE // max(1, self.values[:1].size))
        yield "["
        for start in range(0, len(self.values), step):
            some = Numbers(self.values[start : start + step], self.digits)
            yield ("," if start else "") + _text(some.lists(), compact=True)[1:-1]
        yield "]"


def as_it_is(numbers: Numbers) -> Numbers:
    """Leave an array for `pieces` to write."""
    return numbers


def pieces(value: object, *, compact: bool = False) -> Iterator[str]:
    """Yield the JSON text of plain values that may hold `Numbers` anywhere; `compact` leaves out the spaces."""
    held: list[Numbers] = []
    mark = secrets.token_hex(16)  # stands where an array goes; nobody else can know it

    def note(each: object) -> str:
        if not isinstance(each, Numbers):
            raise TypeError(f"JSON has no place for a {type(each).__name__}")
        held.append(each)
        return mark

    first, *rest = _text(value, note, compact=compact).split(f'"{mark}"')
    yield first
    for numbers, after in zip(held, rest, strict=True):
        yield from numbers.pieces()
        yield after


def _text(value: object, default: Any = None, *, compact: bool) -> str:
    separators = (",", ":") if compact else None
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=separators, default=default)

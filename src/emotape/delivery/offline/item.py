"""One recording of a batch, and the key by which it is known again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from emotape.errors import EmotapeError

KEY_BYTES: Final = 16  # two of 10^9 recordings share a key with a chance of 10^-21


@dataclass(frozen=True)
class Column:
    """A column of the input that goes along into the results.

    `kind` is "string", "int64", "double", "bool" or "json" (anything, as JSON text); of a column that comes from
    Parquet, `type` is its own type and `kind` that type's name.
    """

    name: str
    kind: str
    type: Any = None


@dataclass(frozen=True, eq=False)
class Item:
    """One recording to answer.

    name     what the results call it: its path as the input gives it
    source   where its sound is: a path, the bytes themselves, or the error that stands in their place
    id       its key in a wav.scp
    carried  values of the input's other columns
    """

    name: str
    source: Path | bytes | EmotapeError
    id: str | None = None
    carried: Mapping[str, object] = field(default_factory=dict)

    def key(self) -> bytes:
        """Return `KEY_BYTES` bytes that are equal exactly for equal lines of the input.

        The content of a file plays no part: reading millions of files to find out that they are done takes hours.
        """
        facts = json.dumps([self.name, self.id, self.carried], sort_keys=True, default=repr)
        digest = hashlib.blake2b(facts.encode(), digest_size=KEY_BYTES)
        if isinstance(self.source, bytes):
            digest.update(hashlib.blake2b(self.source).digest())
        return digest.digest()


class Source(Protocol):
    """Where recordings are named, one after another."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that every item carries."""

    def items(self) -> Iterator[Item]:
        """Yield the recordings, holding no more than a few of them; each call begins anew."""

    def marks(self) -> Iterable[object]:
        """Give something for each recording, for who only counts them."""

"""What the labels of a manifest mean: our own names, those that a file maps to them, and the model's own labels."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from emotape.errors import BadRequest
from emotape.model.labels import OFFICIAL_KEYS, find_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from emotape.model.labels import Label

ANY_CORPUS: Final = ""


@dataclass(frozen=True)
class LabelNames:
    """`known` are the keys that the model has; `mapped` says by corpus (`ANY_CORPUS`: all) what other names mean."""

    known: tuple[str, ...] = OFFICIAL_KEYS
    mapped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def find(self, name: str, corpus: str = ANY_CORPUS) -> str | None:
        """Return the key that a label of a corpus means; None for one that nobody knows."""
        wanted = name.strip().casefold()
        for place in (corpus, ANY_CORPUS):
            wanted = self.mapped.get(place, {}).get(wanted, wanted)
        official = find_label(wanted)
        if official is not None:
            return official.key
        plain = wanted.rpartition("/")[2]  # as in a `tokens.txt`, a Chinese name may stand before the key
        return next((key for key in self.known if key.casefold() in (wanted, plain)), None)

    def has(self, key: str) -> bool:
        """Return whether the model has this label, or at least could not be asked."""
        return not self.known or key in self.known


PLAIN: Final = LabelNames()


def label_names(labels: Sequence[Label | None], mapping: Path | None) -> LabelNames:
    """Return the names of a model with these labels, with those of a mapping file. Raises BadRequest."""
    return LabelNames(tuple(label.key for label in labels if label), {} if mapping is None else read_mapping(mapping))


def read_mapping(path: Path) -> dict[str, dict[str, str]]:
    """Return what names mean, by corpus, from TOML: `boredom = "neutral"` for all, or under `[corpus]` for one.

    Raises BadRequest "label_map_unreadable".
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadRequest("label_map_unreadable", path=str(path), reason=reason) from error
    tables = {ANY_CORPUS: {name: value for name, value in told.items() if not isinstance(value, dict)}}
    tables |= {name: value for name, value in told.items() if isinstance(value, dict)}
    return {corpus: _table(path, names) for corpus, names in tables.items()}


def _table(path: Path, names: Mapping[str, object]) -> dict[str, str]:
    for name, meaning in names.items():
        if not isinstance(meaning, str):
            raise BadRequest("label_map_unreadable", path=str(path), reason=f"{name} = {meaning!r}")
    return {name.strip().casefold(): str(meaning).strip().casefold() for name, meaning in names.items()}

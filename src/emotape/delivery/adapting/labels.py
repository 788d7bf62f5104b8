"""Labels of one's own: which there are, in which order, and what they are called."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from emotape.errors import BadRequest
from emotape.model.labels import OFFICIAL, OFFICIAL_KEYS, Label, find_label, label_of_token, named

if TYPE_CHECKING:
    from collections.abc import Sequence

Labels = str | tuple[str, ...]

_FILES: Final = (".json", ".toml", ".yaml", ".yml")
_PARTS: Final = ("en", "zh", "emoji")


def key_of(name: str) -> str | None:
    """Return the key of the class that a label means, or None for what can be none.

    Every name of an official label, in English or Chinese, means that label; "zh/en" is a Chinese name and a key.
    """
    label = label_of_token(name) if name.strip() else None
    if label is None or not label.key.strip() or any(not letter.isprintable() for letter in name):
        return None
    return label.key


def choose_labels(asked: Labels | None, names: Sequence[str]) -> tuple[Label, ...]:
    """Return the labels to learn, in their order: those asked for, or all that the names of a manifest mean.

    `asked` is a sequence of names, a text of names with commas, or the path of a YAML, JSON or TOML file: names, or
    names with their `en`, `zh` and `emoji`.
    Raises BadRequest: "adapt_labels_unreadable", "adapt_label_name", "adapt_no_such_label", "adapt_one_label".
    """
    found = _labels_of(sorted(set(names), key=lambda name: ("/" not in name, name)))
    if asked is None:
        labels = tuple(sorted(found, key=lambda label: (_rank(label), label.key)))
    elif isinstance(asked, str):
        labels = _file(Path(asked)) if asked.lower().endswith(_FILES) else _labels_of(asked.split(","))
    else:
        labels = _labels_of(asked)
    known = {label.key.casefold(): label.key for label in found}
    absent = [label.key for label in labels if label.key.casefold() not in known]
    if absent:
        raise BadRequest("adapt_no_such_label", label=", ".join(absent), known=", ".join(known.values()))
    if len(labels) < 2:
        raise BadRequest("adapt_one_label", label=", ".join(label.key for label in labels))
    return labels


def tokens(labels: Sequence[Label]) -> str:
    """Return labels as the lines of a `tokens.txt`."""
    return "".join(f"{_token(label)}\n" for label in labels)


def own_names(labels: Sequence[Label]) -> dict[str, dict[str, str]]:
    """Return what the labels beside the official ones are called, by key."""
    own = (label for label in labels if label not in OFFICIAL)
    return {label.key: {part: str(getattr(label, part)) for part in _PARTS} for label in own}


def _rank(label: Label) -> int:
    return OFFICIAL_KEYS.index(label.key) if label.key in OFFICIAL_KEYS else len(OFFICIAL_KEYS)


def _labels_of(names: Sequence[str]) -> tuple[Label, ...]:
    """Return the labels that names mean, each once: case plays no part, and the first name decides."""
    labels: dict[str, Label] = {}
    for name in names:
        if key_of(name) is None:
            raise BadRequest("adapt_label_name", name=name, place="--labels")
        label = label_of_token(name)
        assert label is not None  # noqa: S101 - it has a key
        labels.setdefault(label.key.casefold(), label)
    return tuple(labels.values())


def _file(path: Path) -> tuple[Label, ...]:
    try:
        text = path.read_text(encoding="utf-8")
        said = tomllib.loads(text) if path.suffix.lower() == ".toml" else yaml.safe_load(text)
        names = said if isinstance(said, dict) else {str(name): None for name in said}
        plain = {str(name): _named(parts) for name, parts in names.items()}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise BadRequest("adapt_labels_unreadable", path=str(path), reason=reason) from error
    given = {str(key_of(name)): parts for name, parts in plain.items()}
    return tuple(named(label, given) for label in _labels_of(list(plain)))


def _named(parts: Any) -> dict[str, str]:
    if parts is None:
        return {}
    if isinstance(parts, str):
        return {"zh": parts}
    strange = sorted(set(parts) - set(_PARTS))
    if strange:
        raise ValueError(f"{', '.join(map(str, strange))}: not en, zh or emoji")
    return {name: str(text) for name, text in parts.items()}


def _token(label: Label) -> str:
    if label in OFFICIAL:
        return label.zh_reference if label.key == "unknown" else f"{label.zh_reference}/{label.key}"
    token = f"{label.zh}/{label.key}"
    return label.key if label.zh == label.key or "/" in label.zh or find_label(token) else token

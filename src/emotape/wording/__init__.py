"""Every sentence a person reads, in English and Chinese, kept as data beside this file.

Each `*.toml` holds, for its part of the product, errors, warnings and the texts of an interface:

    [errors.empty_file.en]
    message = "The file is empty."
    cause = "It holds 0 bytes."
    cure = "Check that the upload or the recording finished, and send it again."

    [warnings.silent]
    en = "The recording is silent: the scores mean nothing."
    zh = "…"

    [texts.emotion]
    en = "Emotion"
    zh = "情感"

    [help]
    "Print JSON." = "输出 JSON。"

Placeholders in braces are filled with the facts of the error.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any, Literal

Language = Literal["en", "zh"]


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {"errors": {}, "warnings": {}, "texts": {}, "help": {}}
    for file in resources.files(__name__).iterdir():
        if file.name.endswith(".toml"):
            part = tomllib.loads(file.read_text(encoding="utf-8"))
            for kind, entries in part.items():
                repeated = merged[kind].keys() & entries.keys()
                if repeated:
                    raise ValueError(f"{file.name} words {sorted(repeated)} a second time")
                merged[kind].update(entries)
    return merged


def error_words(code: str, language: Language) -> dict[str, str]:
    """Return the templates `message`, `cause` and `cure` of an error code."""
    words: dict[str, str] = _catalogue()["errors"][code][language]
    return words


def warning_text(code: str, language: Language = "en") -> str:
    """Return what a warning code of a prediction means."""
    text: str = _catalogue()["warnings"][code][language]
    return text


def interface_text(code: str, language: Language = "en", **facts: object) -> str:
    """Return a word or a sentence that an interface shows, its placeholders filled with `facts`."""
    template: str = _catalogue()["texts"][code][language]
    return template.format(**facts)


def help_text(english: str) -> str:
    """Return a text of `--help` in Chinese; in English where it has none."""
    text: str = _catalogue()["help"].get(english, english)
    return text


def known_codes(kind: Literal["errors", "warnings", "texts", "help"]) -> frozenset[str]:
    """Return every code that has texts."""
    return frozenset(_catalogue()[kind])

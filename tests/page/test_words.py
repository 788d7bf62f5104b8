"""The page's words: each in both languages, with the same facts, and none that nobody shows."""

from __future__ import annotations

import string
import tomllib
from importlib import resources
from pathlib import Path

import pytest

import emotape
from emotape.engine.result import GRANULARITIES

WORDS = tomllib.loads((resources.files("emotape.wording") / "page.toml").read_text(encoding="utf-8"))


def facts(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize("code", WORDS["texts"])
def test_a_text_stands_in_both_languages_with_the_same_facts(code: str) -> None:
    text = WORDS["texts"][code]
    assert text["en"] != text["zh"]
    assert facts(text["en"]) == facts(text["zh"])


@pytest.mark.parametrize("code", WORDS["errors"])
def test_an_error_has_message_cause_and_cure_in_both_languages(code: str) -> None:
    error = WORDS["errors"][code]
    for part in ("message", "cause", "cure"):
        assert error["en"][part] != error["zh"][part]
        assert facts(error["en"][part]) == facts(error["zh"][part])


def test_every_word_is_shown_somewhere() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(emotape.__file__).parent.rglob("*.py"))
    composed = {f"page_{granularity}" for granularity in GRANULARITIES}
    codes = {code for code in (*WORDS["texts"], *WORDS["errors"]) if not code.startswith("view_")}  # see test_scripts
    assert {code for code in codes if f'"{code}"' in source} | composed == codes

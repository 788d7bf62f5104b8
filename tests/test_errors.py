"""Errors: every code that the source raises is worded in both languages, and survives a process border."""

from __future__ import annotations

import ast
import pickle
import re
import string
from pathlib import Path

import pytest

import emotape
from emotape import errors
from emotape.errors import BadAudio, BadRequest, EmotapeError, EngineFault, Overloaded, Phrase
from emotape.wording import error_words, known_codes, warning_text

SOURCE = Path(emotape.__file__).parent
KINDS = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EmotapeError)}


def raised() -> list[tuple[str, set[str], str]]:
    """Every `SomeError("code", fact=…)` of the source: its code, the names of its facts, and where it stands."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in KINDS and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    facts = {keyword.arg or "**" for keyword in node.keywords}
                    found.append((str(code.value), facts, f"{path.relative_to(SOURCE)}:{node.lineno}"))
    return found


def placeholders(code: str) -> set[str]:
    words = [text for language in ("en", "zh") for text in error_words(code, language).values()]
    return {re.split(r"[.!\[]", name)[0] for text in words for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_raised_code_is_worded_with_the_facts_it_has() -> None:
    """A text can only speak of what its error knows."""
    calls = raised()
    assert len(calls) > 20
    for code, facts, where in calls:
        assert code in known_codes("errors"), f"{code} ({where}) has no texts"
        assert "**" in facts or placeholders(code) <= facts, f"{code} ({where}) lacks {placeholders(code) - facts}"


@pytest.mark.parametrize("code", sorted(known_codes("errors")))
def test_every_error_says_what_why_and_what_to_do_in_both_languages(code: str) -> None:
    """Message, cause and cure, and the Chinese is Chinese."""
    for language in ("en", "zh"):
        words = error_words(code, language)
        assert set(words) == {"message", "cause", "cure"}
        assert all(words.values())
    chinese = "".join(error_words(code, "zh").values())
    assert re.search(r"[\u4e00-\u9fff]", chinese)


@pytest.mark.parametrize("code", sorted(known_codes("warnings")))
def test_every_warning_is_worded_in_both_languages(code: str) -> None:
    """A warning code never reaches a person as a code alone."""
    assert warning_text(code, "en")
    assert re.search(r"[\u4e00-\u9fff]", warning_text(code, "zh"))


def test_words_within_an_error_are_in_its_language_too() -> None:
    """A cause is worded when its error is, also behind a process border, and in English where facts become text."""
    inner = EngineFault("closed")
    fact = Phrase("pull_reasons", first=inner, second=inner)
    error = pickle.loads(pickle.dumps(BadRequest("unreadable", path="x", reason=fact)))  # noqa: S301 - our own bytes
    for language in ("en", "zh"):
        assert error.text(language).cause.count(inner.text(language).message) == 2
    assert str(fact) == fact.text("en")


def test_errors_survive_pickling() -> None:
    """Worker processes and clusters hand errors on whole."""
    for error in (Overloaded(retry_after=2.5, waiting=7), EngineFault("closed")):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert type(again) is type(error)
        assert (again.code, again.facts, str(again)) == (error.code, error.facts, str(error))
    assert Overloaded(retry_after=2.5, waiting=7).retry_after == 2.5
    assert BadAudio.fault == "caller"

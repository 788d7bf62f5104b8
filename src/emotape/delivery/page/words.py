"""The words that the page's scripts say, in one language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emotape.wording import interface_text, known_codes, warning_text

if TYPE_CHECKING:
    from emotape.wording import Language

_FACTS: Final = ("seconds", "window", "count", "done", "percent", "time", "file", "name", "speech", "windows")
_UNFILLED: Final = {fact: f"{{{fact}}}" for fact in _FACTS}


def words_of(language: Language) -> dict[str, dict[str, str]]:
    """Return the texts that begin with `view_`, their placeholders unfilled, and every warning of a prediction."""
    texts = sorted(code for code in known_codes("texts") if code.startswith("view_"))
    return {
        "texts": {code.removeprefix("view_"): interface_text(code, language, **_UNFILLED) for code in texts},
        "warnings": {code: warning_text(code, language) for code in sorted(known_codes("warnings"))},
    }

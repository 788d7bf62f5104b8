"""Which language the command speaks: --language, then EMOTAPE_LANGUAGE and the files, then the locale."""

from __future__ import annotations

import locale
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    import typer

    from emotape.settings import Settings
    from emotape.wording import Language

_KEPT_AS: Final = "emotape.language"


def locale_language(environment: Mapping[str, str], system: str | None = None) -> Language:
    """Return "zh" in a Chinese locale, else "en". `system` is the locale's name where the environment names none."""
    named = [environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)]
    chosen = named[0] if named else system or ""
    return "zh" if chosen.lower().startswith(("zh", "chinese")) else "en"


def settle_language(context: typer.Context, settings: Settings) -> Language:
    """Return the run's language, and note it where the edge finds it if the run fails."""
    language = settings.language or _ambient()
    context.find_root().meta[_KEPT_AS] = language
    return language


def language_of(context: typer.Context) -> Language:
    """Return the language that the run settled on, or what the environment says when it did not get so far."""
    settled: Language | None = context.find_root().meta.get(_KEPT_AS)
    return settled or ambient_language()


def ambient_language() -> Language:
    """Return the language of EMOTAPE_LANGUAGE, else of the locale."""
    named = os.environ.get("EMOTAPE_LANGUAGE")
    if named in ("en", "zh"):
        return "zh" if named == "zh" else "en"
    return _ambient()


def _ambient() -> Language:
    return locale_language(os.environ, locale.getlocale()[0])

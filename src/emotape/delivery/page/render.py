"""The page's frame as HTML: heading, banner, and the places that the scripts fill. Everything is escaped."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.wording import Language


def heading(language: Language) -> str:
    """Return the page's name, what it does, and the way to the other language."""
    other = "en" if language == "zh" else "zh"
    title, subtitle, switch = (
        escape(interface_text(code, language)) for code in ("page_heading", "page_subtitle", "page_language")
    )
    return (
        f'<header id="heading"><h1><span class="brand">emotape</span> {title}</h1><p>{subtitle}</p>'
        f'<a id="language" href="../?language={other}" lang="{other}" hreflang="{other}">{switch}</a></header>'
    )


def banner(language: Language) -> str:
    """Return what should be known of an experimental model."""
    return f'<div class="banner" role="note">{with_commands(interface_text("experimental", language))}</div>'


def stage(language: Language) -> str:
    """Return the right pane before there is a result; `assets/page.js` fills it."""
    name, waiting = (escape(interface_text(code, language)) for code in ("page_results", "page_waiting"))
    return (
        f'<section id="stage" aria-label="{name}"><div id="progress"></div><div id="files"></div>'
        f'<div id="result"><div class="waiting">{waiting}</div></div><div id="history"></div>'
        '<div id="announce" class="unseen" role="status" aria-live="polite"></div></section>'
    )


def monitor(language: Language) -> str:
    """Return the tab that watches the machine, before the first measurement."""
    name, waiting = (escape(interface_text(code, language)) for code in ("page_monitor", "page_measuring"))
    return f'<section id="monitor" aria-label="{name}"><div class="waiting">{waiting}</div></section>'


def with_commands(text: str) -> str:
    """Return a sentence as HTML, with what stands between backticks as a command."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))

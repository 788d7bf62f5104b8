"""Which language an answer speaks: the query's `language`, else what Accept-Language ranks first, else English."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from emotape.wording import Language


def language_of(connection: HTTPConnection) -> Language:
    """Return the language in which a caller wants to be answered."""
    named = connection.query_params.get("language")
    if named in ("zh", "en"):
        return "zh" if named == "zh" else "en"
    return preferred_language(connection.headers.get("accept-language", ""))


def preferred_language(accepted: str) -> Language:
    """Return "zh" or "en", whichever Accept-Language ranks first; English where it names neither."""
    ranked = sorted(map(_rank, accepted.lower().split(",")), key=lambda pair: -pair[1])
    for tag, quality in ranked:
        if quality > 0 and tag in {"zh", "en"}:
            return "zh" if tag == "zh" else "en"
    return "en"


def _rank(entry: str) -> tuple[str, float]:
    """Return the primary tag and the quality of one entry, such as `zh-CN;q=0.9`."""
    tag, _, quality = entry.strip().partition(";q=")
    try:
        return tag.split("-")[0], float(quality or 1)
    except ValueError:
        return tag, 0.0

"""The colour of every emotion, and its emoji as it should be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from emotape.model.labels import Label

COLOURS: Final = {
    "angry": "#e5484d",
    "disgusted": "#6f9e3f",
    "fearful": "#8e4ec6",
    "happy": "#eaa800",
    "neutral": "#8b8d98",
    "other": "#a18072",
    "sad": "#3b82f6",
    "surprised": "#f76b15",
    "unknown": "#b9bbc6",
}
_OWN_COLOURS: Final = ("#12a594", "#d6409f", "#5b5bd6", "#978365")


def colour(key: str) -> str:
    """Return the colour of a label; a model's own labels get one that stays the same."""
    return COLOURS.get(key) or _OWN_COLOURS[sum(key.encode(errors="replace")) % len(_OWN_COLOURS)]


def emoji(label: Label) -> str:
    """Return the label's emoji with the sign that asks for its coloured form."""
    return f"{label.emoji}\N{VARIATION SELECTOR-16}"

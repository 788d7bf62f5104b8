"""What is noted about a model directory in its `emotape.json`: digest, origin, whether it is experimental."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from emotape.errors import ModelFault

if TYPE_CHECKING:
    from pathlib import Path

NOTE: Final = "emotape.json"
LABEL_NAMES: Final = "labels.json"
UNCERTAIN: Final = "uncertain"
"""The entry of the note that holds the threshold (`below`) and what it was chosen by."""


def read_note(directory: Path) -> dict[str, Any]:
    """Return what was noted about a model directory; nothing where there is no note."""
    try:
        noted = json.loads((directory / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFault("card_unreadable", path=directory / NOTE) from error
    return noted if isinstance(noted, dict) else {}


def note(directory: Path, **facts: object) -> None:
    """Add facts to the note of a model directory; one that is None is taken out of it."""
    noted = {name: fact for name, fact in (read_note(directory) | facts).items() if fact is not None}
    partial = directory / f"{NOTE}.partial"
    partial.write_text(json.dumps(noted, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(directory / NOTE)


def uncertain_below(directory: Path) -> float | None:
    """Return the noted confidence below which the model is unsure; None where none is noted.

    Raises ModelFault `threshold_unreadable` for what is no probability.
    """
    noted = read_note(directory).get(UNCERTAIN)
    if noted is None:
        return None
    threshold = noted.get("below") if isinstance(noted, dict) else noted
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ModelFault("threshold_unreadable", path=directory / NOTE)
    return float(threshold)


def label_names(directory: Path) -> dict[str, dict[str, str]]:
    """Return what a model's own labels are called, by key ("en", "zh", "emoji"); nothing where nobody wrote it down.

    Raises ModelFault `tokens_unreadable`.
    """
    try:
        names = json.loads((directory / LABEL_NAMES).read_text(encoding="utf-8"))
        return {str(key): {str(part): str(name) for part, name in parts.items()} for key, parts in names.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFault("tokens_unreadable", path=directory / LABEL_NAMES) from error

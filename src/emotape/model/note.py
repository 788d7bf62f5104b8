"""What is noted about a model directory in its `emotape.json`: digest, origin, whether it is experimental."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from emotape.errors import ModelFault

if TYPE_CHECKING:
    from pathlib import Path

NOTE: Final = "emotape.json"


def read_note(directory: Path) -> dict[str, Any]:
    """Return what was noted about a model directory; nothing where there is no note."""
    try:
        noted = json.loads((directory / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelFault("card_unreadable", path=directory / NOTE) from error
    return noted if isinstance(noted, dict) else {}


def note(directory: Path, **facts: object) -> None:
    """Add facts to the note of a model directory."""
    noted = read_note(directory) | facts
    partial = directory / f"{NOTE}.partial"
    partial.write_text(json.dumps(noted, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(directory / NOTE)

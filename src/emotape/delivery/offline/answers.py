"""Answers on their way from an engine, here or in another process, to the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.offline.rows import arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emotape.delivery.offline.forms import Form
    from emotape.delivery.offline.rows import Row

AT_ONCE: Final = 64  # rows in one payload at most


@dataclass(frozen=True)
class Answers:
    """Some rows as one payload. `seconds` are those of audio; `arithmetic` is what calculated, if anything did."""

    payload: bytes
    rows: int
    failed: int
    seconds: float
    arithmetic: Mapping[str, str] | None


def packed(rows: Sequence[Row], form: Form) -> Answers:
    """Return rows as they go into the output."""
    calculated = (found for found in map(arithmetic, rows) if found)
    return Answers(
        form.encode(rows),
        len(rows),
        sum(row.get("error_code") is not None for row in rows),
        sum(row.get("seconds") or 0.0 for row in rows),
        next(calculated, None),
    )

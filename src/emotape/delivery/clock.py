"""The time of day that results are stamped with."""

from __future__ import annotations

from datetime import datetime


def local_now() -> datetime:
    """Return the local time, with its distance from UTC."""
    return datetime.now().astimezone()

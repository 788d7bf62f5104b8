"""When to ask again: after refusals for the moment and lost connections, later each time, and never before told to."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

AGAIN: Final = frozenset({429, 502, 503})
"""Statuses that say that the same request may succeed later."""


@dataclass(frozen=True)
class Retry:
    """How often and how long to wait.

    attempts  in all; 1 never asks again
    first     seconds after the first failure; twice as many after each further one
    most      seconds at most, unless the server itself (Retry-After) asks for more
    patience  seconds; a server that asks for more is not waited for
    chance    a number from 0 to 1: waits vary by half, so that many clients do not come back at once
    """

    attempts: int = 6
    first: float = 0.5
    most: float = 30.0
    patience: float = 120.0
    chance: Callable[[], float] = random.random

    def wait(self, failures: int, advised: float | None = None) -> float | None:
        """Return the seconds to wait after so many failures, or None to give up."""
        if failures >= self.attempts or (advised or 0.0) > self.patience:
            return None
        backoff = min(self.most, self.first * 2.0 ** (failures - 1)) * (0.5 + self.chance() / 2)
        return max(backoff, advised or 0.0)


def advised_wait(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, or None where there is none that counts seconds."""
    return float(header) if header is not None and header.isdecimal() else None

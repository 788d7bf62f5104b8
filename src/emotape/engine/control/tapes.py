"""How long tapes are: everybody on one waits for its end, so it is halved as long as that costs no throughput."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_TOKENS: Final = 64
"""Tokens (1.3 s) below which tapes are not halved any more."""
_LONG: Final = 0.25  # seconds that nobody notices
_BRIEF: Final = 0.06  # seconds; twice as long is still not noticed
_WORTH: Final = 0.95  # of the throughput of tapes twice as long
_FULL: Final = 0.5  # of a tape; emptier ones say nothing of its length
_TICKS: Final = 5  # that a length is measured before it is judged
_PAUSE: Final = 120  # ticks until what was too slow is tried again; longer each time
_LONGEST_PAUSE: Final = 3_600


@dataclass(frozen=True)
class Throughput:
    """What was measured in one tick: tapes, their tokens, and the seconds they took, one after the other.

    `saturated` says that more waited than went on them.
    """

    tapes: int
    tokens: int
    seconds: float
    saturated: bool


@dataclass(frozen=True)
class Tapes:
    """How often the plan's tape was halved, and what is remembered.

    rates   tokens a second by halvings, averaged over the last ticks
    ticks   for which the present length was measured
    rest    ticks until a shorter one may be tried
    pause   the next `rest`
    """

    halvings: int = 0
    rates: Mapping[int, float] = field(default_factory=dict)
    ticks: int = 0
    rest: int = 0
    pause: int = _PAUSE


def tokens_of(state: Tapes, most: int) -> int:
    """Return the most tokens on a tape, where the plan and the device's memory allow `most`."""
    return max(min(most, LEAST_TOKENS), most >> state.halvings)


def step(state: Tapes, measured: Throughput, most: int) -> tuple[Tapes, str | None]:
    """Return the next state and, where the length changes, why."""
    size = tokens_of(state, most)
    if not (measured.tapes and measured.saturated and measured.tokens >= _FULL * size * measured.tapes):
        return state, None
    state = _noted(state, measured.tokens / max(measured.seconds, 1e-9))
    if state.ticks < _TICKS:
        return state, None
    lasts = measured.seconds / measured.tapes
    if state.halvings and state.rates[state.halvings] < _WORTH * state.rates.get(state.halvings - 1, 0.0):
        slower = _moved(state, -1)
        return replace(slower, rest=state.pause, pause=min(_LONGEST_PAUSE, 2 * state.pause)), "shorter_is_slower"
    if state.halvings and lasts < _BRIEF:
        return _moved(state, -1), "brief"
    if lasts > _LONG and not state.rest and size // 2 >= LEAST_TOKENS:
        return _moved(state, 1), "long"
    return state, None


def _noted(state: Tapes, rate: float) -> Tapes:
    before = state.rates.get(state.halvings) if state.ticks else None
    mean = rate if before is None else 0.7 * before + 0.3 * rate
    rates = {**state.rates, state.halvings: mean}
    return replace(state, rates=rates, ticks=state.ticks + 1, rest=max(0, state.rest - 1))


def _moved(state: Tapes, by: int) -> Tapes:
    return replace(state, halvings=state.halvings + by, ticks=0)

"""How many recordings are decoded at once: more while the device waits for them, fewer while they pile up before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

BUSY: Final = 0.9
"""Share of its time that a device shall spend on tapes while there is work."""
_ENOUGH: Final = 0.5  # seconds of the device's work that wait for it: with so much it is not starved
_SOON: Final = 2.0  # seconds of it; less is used up within a tick or two
_PILE: Final = 5.0  # seconds of the device's work; more is held in memory for nothing
_PILED_TICKS: Final = 3
_HOLD: Final = 60  # ticks
_LONGEST_HOLD: Final = 1_800


@dataclass(frozen=True)
class Supply:
    """What was measured in one tick.

    busy     share of the tick in which the device had tapes, 0 to 1
    backlog  seconds of the device's work that wait for it now
    waiting  recordings that wait for a decoder now
    """

    busy: float
    backlog: float
    waiting: int


@dataclass(frozen=True)
class Decoders:
    """How many recordings are decoded at once, and what is remembered.

    piled   ticks in a row in which decoded clips piled up, and became no fewer
    backlog seconds of the device's work that waited in the last tick
    least   fewer than these starved the device, not long ago
    held    ticks for which that still counts
    hold    ticks for which the next such finding will count; longer each time, so that it is tried ever more rarely
    shrank  whether the last change was to fewer
    """

    limit: int
    piled: int = 0
    backlog: float = 0.0
    least: int = 1
    held: int = 0
    hold: int = _HOLD
    shrank: bool = False


def step(state: Decoders, supply: Supply, most: int) -> tuple[Decoders, str | None]:
    """Return the next state and, where the number changes, why. It stays between 1 and `most`."""
    held = max(0, state.held - 1)
    draining = supply.backlog < state.backlog
    state = replace(state, held=held, least=state.least if held else 1, backlog=supply.backlog)
    if supply.waiting and supply.busy < BUSY and supply.backlog < _ENOUGH:
        return _more(state, state.limit + (state.limit + 1) // 2, most)
    if supply.waiting and state.shrank and supply.backlog < _SOON:
        return _more(state, state.limit + 1, most)
    if not supply.waiting or supply.backlog <= _PILE or draining:
        return replace(state, piled=0), None
    if state.piled + 1 < _PILED_TICKS or state.limit <= state.least:
        return replace(state, piled=state.piled + 1), None
    return replace(state, limit=state.limit - 1, piled=0, shrank=True), "piled_up"


def _more(state: Decoders, limit: int, most: int) -> tuple[Decoders, str | None]:
    """Decode more at once; if the last one that was taken away is missed, take none away for longer."""
    if state.limit >= most:
        return replace(state, piled=0), None
    hold = min(_LONGEST_HOLD, 2 * state.hold) if state.shrank else state.hold
    return Decoders(min(most, limit), backlog=state.backlog, least=state.limit + 1, held=hold, hold=hold), "starved"

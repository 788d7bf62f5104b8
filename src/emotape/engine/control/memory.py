"""What memory allows: as it gets tight, less may wait and be kept, before the kernel kills; it comes back slowly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

Level = Literal["calm", "tight", "short"]

# Share of the memory in use, and percent of the time that somebody stood still for lack of it: where a level begins,
# and below which it ends.
_BEGINS: Final = {"tight": (0.85, 10.0), "short": (0.95, 40.0)}
_ENDS: Final = {"tight": (0.78, 5.0), "short": (0.90, 20.0)}
_SHARES: Final[dict[Level, float]] = {"calm": 1.0, "tight": 0.5, "short": 0.0}
_STEP: Final = 0.1
_PATIENCE: Final = 5  # ticks
_LONGEST_PATIENCE: Final = 600


@dataclass(frozen=True)
class MemoryReading:
    """Bytes in use, and those that there are; percent of the last 10 s in which processes stood still for memory."""

    used: int
    limit: int
    stalled: float = 0.0


@dataclass(frozen=True)
class Allowance:
    """The share of the plan's queue and of the cache that memory allows, and what is remembered.

    quiet     ticks in a row in which there was room for more
    patience  such ticks before a tenth more is allowed; longer each time that more was too much
    grew      whether the last change was to more
    """

    level: Level = "calm"
    share: float = 1.0
    quiet: int = 0
    patience: int = _PATIENCE
    grew: bool = False


def step(state: Allowance, reading: MemoryReading) -> tuple[Allowance, str | None]:
    """Return the next state and, where the share changes, why."""
    level = _level(state.level, reading)
    most = _SHARES[level]
    if state.share > most:
        patience = min(_LONGEST_PATIENCE, 2 * state.patience) if state.grew else state.patience
        return Allowance(level, most, patience=patience), f"memory_{level}"
    room = level != "short" and not _reaches(reading, _ENDS["tight"] if level == "calm" else _BEGINS["tight"])
    state = replace(state, level=level, quiet=state.quiet + 1 if room else 0)
    if state.share >= most:
        return (Allowance() if most == 1.0 and state.quiet >= _LONGEST_PATIENCE else state), None
    if state.quiet < state.patience:
        return state, None
    return replace(state, share=min(most, round(state.share + _STEP, 2)), quiet=0, grew=True), "memory_calm"


def _level(before: Level, reading: MemoryReading) -> Level:
    for level in ("short", "tight"):
        stays = before == "short" or before == level
        if _reaches(reading, (_ENDS if stays else _BEGINS)[level]):
            return level
    return "calm"


def _reaches(reading: MemoryReading, bounds: tuple[float, float]) -> bool:
    use, stalled = bounds
    return reading.used >= use * reading.limit or reading.stalled >= stalled

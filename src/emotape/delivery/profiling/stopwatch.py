"""A run is cut into laps without gaps: each is the time, the work and the memory of one stage."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotape.delivery.bench.memory import resident_bytes
from emotape.events import Event, TapeRan

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Look:
    """One look at this process.

    at         seconds by the clock, from any beginning
    processor  seconds of the processor that all its threads have used
    resident   bytes of resident memory; None where the system does not say
    card       bytes that torch holds on graphics cards, without what CUDA itself takes
    """

    at: float
    processor: float
    resident: int | None
    card: int


@dataclass(frozen=True)
class Lap:
    """A stretch of a run that was spent on one stage; `running` are the seconds in which a device ran a tape."""

    stage: str
    before: Look
    after: Look
    running: float

    @property
    def seconds(self) -> float:
        """Seconds by the clock."""
        return self.after.at - self.before.at

    @property
    def processor(self) -> float:
        """Seconds of the processor; more than those by the clock where several cores were busy."""
        return self.after.processor - self.before.processor

    @property
    def resident_growth(self) -> int:
        """Bytes by which resident memory grew, or shrank."""
        return (self.after.resident or 0) - (self.before.resident or 0)

    @property
    def card_growth(self) -> int:
        """Bytes by which torch's memory on graphics cards grew, or shrank."""
        return self.after.card - self.before.card


@dataclass(frozen=True)
class Tape:
    """One tape that a device ran, `ended` by the clock of the looks."""

    ended: float
    ran: TapeRan


def look() -> Look:
    """Look at this process; takes some hundredths of a millisecond."""
    return Look(time.perf_counter(), time.process_time(), resident_bytes(), card_bytes())


def card_bytes() -> int:
    """Return the bytes that torch holds on graphics cards; 0 until something has used one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return sum(torch.cuda.memory_reserved(place) for place in range(torch.cuda.device_count()))


class Stopwatch:
    """Takes laps, one after the other, from one thread; listens to the engine from any thread for the tapes it ran."""

    def __init__(self, look: Callable[[], Look] = look) -> None:
        self._look = look
        self._laps: list[Lap] = []
        self._tapes: list[Tape] = []
        self._counted = 0
        self._last = look()

    def __call__(self, event: Event, /) -> None:
        """Note a tape."""
        if isinstance(event, TapeRan):
            self._tapes.append(Tape(time.perf_counter(), event))

    @property
    def tapes(self) -> tuple[Tape, ...]:
        """Every tape so far."""
        return tuple(self._tapes)

    def start(self) -> None:
        """Begin a run: what passed since the last lap belongs to nothing."""
        self._laps = []
        self._counted = len(self._tapes)
        self._last = self._look()

    def lap(self, stage: str) -> None:
        """Book everything since the last lap, or the start, on a stage."""
        now, ran = self._look(), self._tapes[self._counted :]
        self._laps.append(Lap(stage, self._last, now, sum(tape.ran.seconds for tape in ran)))
        self._counted += len(ran)
        self._last = now

    def taken(self) -> tuple[Lap, ...]:
        """Return the laps since the start."""
        return tuple(self._laps)

"""Looks at the engine once a tick, and steers it as the controllers say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from emotape.engine.control.course import Control, Measured, step
from emotape.engine.control.decoding import Decoders, Supply
from emotape.engine.control.tapes import Throughput
from emotape.events import Adapted, Observer, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.engine.control.course import Bounds, Course
    from emotape.engine.control.memory import MemoryReading
    from emotape.engine.control.work import Work


@dataclass(frozen=True)
class Look:
    """The engine at one moment: its work so far, `runners` threads that do it, and what waits.

    backlog    seconds of the device's work that wait for it
    undecoded  recordings that wait for a decoder
    """

    work: Work
    runners: int
    backlog: float
    undecoded: int


class Engine(Protocol):
    """What can be steered."""

    def look(self) -> Look:
        """Look at it. Never waits."""

    def bounds(self) -> Bounds:
        """Return what it must not be steered beyond."""

    def steer(self, course: Course) -> None:
        """Go on like this from now on."""


class Adaptation:
    """Steers one engine, and the share of its memory that a cache keeps. One thread calls `tick`.

    Every change is told as `Adapted`. `release` is called in each tick in which memory is short, `trim` in each in
    which it is tight or short.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        memory: Callable[[], MemoryReading | None],
        keep: Callable[[float], None],
        release: Callable[[], None],
        trim: Callable[[], None],
        observer: Observer,
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._keep = keep
        self._release = release
        self._trim = trim
        self._observer = observer
        self._last = engine.look()
        bounds = engine.bounds()
        self.control = Control(Decoders(bounds.decoders))
        self._course = self.control.course(bounds)

    def tick(self) -> None:
        """Look, decide, steer."""
        look, bounds = self._engine.look(), self._engine.bounds()
        measured = measure(self._last, look, self._memory())
        self._last = look
        self.control, changes = step(self.control, measured, bounds)
        course = self.control.course(bounds)
        if course != self._course:  # also when the device's memory ran out and tapes are halves of shorter ones
            self._engine.steer(course)
            self._course = course
        if any(change.what == "cache_share" for change in changes):
            self._keep(course.cache_share)
        if self.control.allowance.level == "short":
            self._release()
        if self.control.allowance.level != "calm":
            self._trim()
        for change in changes:
            tell(self._observer, Adapted(change.what, change.before, change.after, change.reason))


def measure(before: Look, now: Look, memory: MemoryReading | None) -> Measured:
    """Return what happened between two looks at the engine."""
    elapsed = max(now.work.now - before.work.now, 1e-9) * now.runners
    return Measured(
        supply=Supply(min(1.0, (now.work.busy - before.work.busy) / elapsed), now.backlog, now.undecoded),
        throughput=Throughput(
            tapes=now.work.tapes - before.work.tapes,
            tokens=now.work.tokens - before.work.tokens,
            seconds=now.work.seconds - before.work.seconds,
            saturated=before.backlog > 0 and now.backlog > 0,
        ),
        memory=memory,
    )

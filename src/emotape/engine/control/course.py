"""All controllers in one step: from a look at the engine and at memory to how it goes on. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final

from emotape.engine.control import decoding, memory, tapes
from emotape.engine.control.decoding import Decoders, Supply
from emotape.engine.control.memory import Allowance, MemoryReading
from emotape.engine.control.tapes import Tapes, Throughput

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_QUEUE_SECONDS: Final = 30.0
"""Seconds of audio that may always wait: a window."""

LEAST_DECODED: Final = 0.125
"""Share of the memory for decoded recordings that they may always take."""


@dataclass(frozen=True)
class Bounds:
    """What the plan says, and no controller goes beyond: `tape_tokens` is less once a device's memory ran out."""

    decoders: int
    tape_tokens: int
    queue_seconds: float
    decoded_megabytes: float


@dataclass(frozen=True)
class Measured:
    """One tick: the device's supply, its tapes, and memory, None where nobody knows."""

    supply: Supply
    throughput: Throughput
    memory: MemoryReading | None = None


@dataclass(frozen=True)
class Course:
    """How the engine goes on.

    decoders           recordings decoded at once
    tape_tokens        most tokens on one tape
    queue_seconds      seconds of audio that may wait
    decoded_megabytes  of memory for recordings that are decoded, or wait decoded
    cache_share        of the memory for results
    """

    decoders: int
    tape_tokens: int
    queue_seconds: float
    decoded_megabytes: float
    cache_share: float


@dataclass(frozen=True)
class Change:
    """One value of the course, before and after, and why it changed."""

    what: str
    before: float
    after: float
    reason: str


@dataclass(frozen=True)
class Control:
    """The states of all controllers."""

    decoders: Decoders
    tapes: Tapes = field(default_factory=Tapes)
    allowance: Allowance = field(default_factory=Allowance)

    def course(self, bounds: Bounds) -> Course:
        """Return how the engine goes on within `bounds`."""
        share = self.allowance.share
        least = min(LEAST_QUEUE_SECONDS, bounds.queue_seconds)
        return Course(
            decoders=self.decoders.limit,
            tape_tokens=tapes.tokens_of(self.tapes, bounds.tape_tokens),
            queue_seconds=max(least, share * bounds.queue_seconds),
            decoded_megabytes=max(LEAST_DECODED, share) * bounds.decoded_megabytes,
            cache_share=share,
        )


def step(state: Control, measured: Measured, bounds: Bounds) -> tuple[Control, tuple[Change, ...]]:
    """Return the next states, and what changes."""
    allowance, why_memory = (
        (state.allowance, None) if measured.memory is None else memory.step(state.allowance, measured.memory)
    )
    most = 1 if allowance.level == "short" else bounds.decoders
    decoders, why_decoders = decoding.step(state.decoders, measured.supply, most)
    if decoders.limit > most:
        decoders, why_decoders = Decoders(most), f"memory_{allowance.level}"
    length, why_tapes = tapes.step(state.tapes, measured.throughput, bounds.tape_tokens)
    after = replace(state, decoders=decoders, tapes=length, allowance=allowance)
    reasons = {
        "decoders": why_decoders,
        "tape_tokens": why_tapes,
        "queue_seconds": why_memory,
        "decoded_megabytes": why_memory,
        "cache_share": why_memory,
    }
    return after, tuple(_changes(state.course(bounds), after.course(bounds), reasons))


def _changes(before: Course, after: Course, reasons: dict[str, str | None]) -> Iterator[Change]:
    for one in fields(Course):
        old, new = getattr(before, one.name), getattr(after, one.name)
        if old != new:
            yield Change(one.name, old, new, reasons[one.name] or "")

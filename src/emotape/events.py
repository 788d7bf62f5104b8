"""Facts that the engine states as it works; metrics, logs and progress bars listen.

Nothing in the engine waits for a listener, and a listener that raises harms nobody: `tell` catches and drops.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger("emotape")


@dataclass(frozen=True)
class ModelLoaded:
    """A network is resident and warm."""

    model: str
    digest: str
    device: str
    dtype: str
    seconds: float


@dataclass(frozen=True)
class PrecisionRefused:
    """A planned arithmetic was not used: on built-in clips it strays from fp32 by `worst`, or names other labels."""

    dtype: str
    worst: float
    same_labels: bool


@dataclass(frozen=True)
class Decoded:
    """A recording became a waveform."""

    container: str
    codec: str
    audio_seconds: float
    seconds: float


@dataclass(frozen=True)
class Admitted:
    """A clip entered the queue, which now holds `queued_seconds` of audio."""

    audio_seconds: float
    queued_seconds: float


@dataclass(frozen=True)
class Refusal:
    """A request was answered with an error instead of scores."""

    code: str
    audio_seconds: float


@dataclass(frozen=True)
class TapeRan:
    """One tape went through the network. `tokens` counts frames and extra tokens."""

    clips: int
    tokens: int
    audio_seconds: float
    seconds: float
    device: str


@dataclass(frozen=True)
class MemoryShort:
    """A device had no room for a tape: its clips are tried in smaller ones, and from now on tapes are no longer."""

    device: str
    tape_tokens: int


@dataclass(frozen=True)
class Answered:
    """A request got its one answer after `seconds`, of which `queued_seconds` were waiting."""

    audio_seconds: float
    queued_seconds: float
    seconds: float


Event = ModelLoaded | PrecisionRefused | Decoded | Admitted | Refusal | TapeRan | MemoryShort | Answered


class Observer(Protocol):
    """Anything that listens to facts. Called from the engine's threads; must be quick."""

    def __call__(self, event: Event, /) -> None:
        """Take note of one fact."""


def silent(event: Event, /) -> None:
    """Listen to nothing."""


def tell(observer: Observer, event: Event) -> None:
    """State a fact; an observer's failure is logged and goes no further."""
    try:
        observer(event)
    except Exception:  # a broken listener must never cost a request its answer
        log.exception("an observer failed on %s", type(event).__name__)

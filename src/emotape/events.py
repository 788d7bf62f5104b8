"""Facts that the engine states as it works; metrics, logs and progress bars listen.

Nothing in the engine waits for a listener, and a listener that raises harms nobody: `tell` catches and drops.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

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
class DeviceRefused:
    """A device is not used: on built-in clips its fp32 strays from the processor's by `worst`."""

    device: str
    worst: float


@dataclass(frozen=True)
class WeightsOffloaded:
    """`blocks` leave their weights in the machine's memory, to be fetched on every tape.

    Without that, `device` would need `needed` bytes; `free` were free there (None: unknown).
    """

    device: str
    blocks: int
    needed: int
    free: int | None


@dataclass(frozen=True)
class NotCompiled:
    """torch could not compile the network for `device`, where it now runs operation by operation, several times slower.

    Compiling needs Triton and a C compiler; `reason` is what was missing or failed.
    """

    device: str
    reason: str


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
    """One tape went through the network. `tokens` counts frames and extra tokens; `capacity` would have been most."""

    clips: int
    tokens: int
    capacity: int
    audio_seconds: float
    seconds: float
    device: str


@dataclass(frozen=True)
class MemoryShort:
    """A device had no room for a tape: its clips are tried in smaller ones, and from now on tapes are no longer."""

    device: str
    tape_tokens: int


@dataclass(frozen=True)
class DeviceFailed:
    """A device's driver reported a failure; the clips that meet one run on the processor. Told once of a device."""

    device: str
    reason: str


@dataclass(frozen=True)
class NotFinite:
    """What a device made of so many clips of a tape is no numbers; they are tried elsewhere, if there is anything."""

    device: str
    clips: int


@dataclass(frozen=True)
class Answered:
    """A request got its one answer after `seconds`, of which `queued_seconds` were waiting."""

    audio_seconds: float
    queued_seconds: float
    seconds: float


@dataclass(frozen=True)
class Settled:
    """A request to a recognizer got its one answer, `seconds` after it was made: a prediction, or an error.

    Of an error there are its `code` and whose `fault` it is; of a prediction, the seconds of audio (of every channel)
    and of each stage: "wait" for a decoding thread, "decode", "window", "queue", "run", "finish", and "cache". It is
    told in the caller's context, so that whoever listens finds the caller's context variables.
    """

    seconds: float
    stages: Mapping[str, float]
    audio_seconds: float = 0.0
    code: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Adapted:
    """The engine was steered: `what` went from `before` to `after`, for `reason`.

    what    "decoders" at once, "tape_tokens", "queue_seconds" that may wait, "decoded_megabytes" that decoded
            recordings may take, "cache_share" that may be filled
    reason  "starved" or "piled_up" (the device, before it), "long", "brief" or "shorter_is_slower" (tapes),
            "memory_tight", "memory_short" or "memory_calm"
    """

    what: str
    before: float
    after: float
    reason: str


@dataclass(frozen=True)
class ModelUnloaded:
    """A network was let go because nobody had asked for `idle_seconds`; the next request loads it again."""

    model: str
    idle_seconds: float


@dataclass(frozen=True)
class CacheHit:
    """A request got its answer without a run of its own, `seconds` after it asked the cache.

    `shared` says that the answer came from a run that was under way for an equal request.
    """

    audio_seconds: float
    seconds: float
    shared: bool = False


@dataclass(frozen=True)
class CacheMiss:
    """The cache had no answer, which took it `seconds` to say; the request goes on to the network."""

    audio_seconds: float
    seconds: float


@dataclass(frozen=True)
class CacheDown:
    """Redis failed again and again and is left alone for `seconds`; `reason` is the last failure."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class QuotasDown:
    """Redis failed again and again: for `seconds` callers' limits are counted by this server alone."""

    reason: str
    seconds: float


Event = (
    ModelLoaded
    | PrecisionRefused
    | DeviceRefused
    | WeightsOffloaded
    | NotCompiled
    | Decoded
    | Admitted
    | Refusal
    | TapeRan
    | MemoryShort
    | DeviceFailed
    | NotFinite
    | Adapted
    | ModelUnloaded
    | Answered
    | Settled
    | CacheHit
    | CacheMiss
    | CacheDown
    | QuotasDown
)


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


def fan_out(*observers: Observer) -> Observer:
    """Return an observer that tells several; one that fails keeps nothing from the others."""

    def tell_all(event: Event, /) -> None:
        for observer in observers:
            tell(observer, event)

    return tell_all

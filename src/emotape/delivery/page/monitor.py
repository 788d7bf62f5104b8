"""How the machine and the engine are doing, as plain values for the page, measured at most once a second for all."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from dataclasses import Field

    from emotape.wording import Language

FRESH_SECONDS: Final = 0.9  # pages ask every second; several of them share one measurement


class Advice(Protocol):
    """One finding: the code of its text, and the facts that fill it."""

    @property
    def code(self) -> str:
        """Name a text of the wording."""

    @property
    def facts(self) -> Mapping[str, object]:
        """Give the values of its placeholders."""


class Snapshot(Protocol):
    """One measurement: a dataclass of plain values, beside its advice.

    The page draws, where they are given and not None: cpu_percent, memory_used and memory_total, process_memory,
    swap_used (bytes), gpus (name, utilisation in percent, memory_used, memory_total), queue_seconds,
    requests_per_second, realtime_factor (seconds of audio a second), cache_hit_rate (0 to 1) and stages (seconds of
    work by stage).
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def advice(self) -> Sequence[Advice]:
        """Say what should be known or changed, the most urgent first."""


class Watches(Protocol):
    """What the monitor tab looks at."""

    def snapshot(self) -> Snapshot:
        """Measure now."""


class Monitor:
    """Measurements that any number of pages may ask for at any rate."""

    def __init__(self, watches: Watches, clock: Callable[[], float] = time.monotonic) -> None:
        self._watches = watches
        self._clock = clock
        self._lock = threading.Lock()
        self._at = -FRESH_SECONDS
        self._last: Snapshot | None = None

    def document(self, language: Language) -> dict[str, Any]:
        """Return the latest measurement as JSON values, its advice in words."""
        snapshot = self._fresh()
        advice = [
            {"code": advice.code, "text": interface_text(advice.code, language, **advice.facts)}
            for advice in snapshot.advice
        ]
        return asdict(snapshot) | {"advice": advice}

    def _fresh(self) -> Snapshot:
        with self._lock:
            now = self._clock()
            if self._last is None or now - self._at >= FRESH_SECONDS:
                self._last, self._at = self._watches.snapshot(), now
            return self._last

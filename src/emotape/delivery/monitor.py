"""How the service is doing right now, for the monitor tab and whoever else wants to look."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from emotape.delivery.advice import Snapshot, advise
from emotape.delivery.vitals import RATE_SECONDS, queue_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emotape.delivery.metrics import Meter
    from emotape.delivery.readings import Gpu
    from emotape.delivery.recognition import Recognition

FRESH_SECONDS: Final = 0.5
_STAGE_SECONDS: Final = 60
_CACHE_SECONDS: Final = 300
_WORK: Final = ("decode", "window", "run", "finish")


class Monitor:
    """Looks at machine, engine and counts; any thread may ask, and gets what is half a second old at most."""

    def __init__(self, recognizer: Recognition, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._recognizer = recognizer
        self._meter = meter
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[float, Snapshot] | None = None
        self._use = _SteadyUse(clock)

    def snapshot(self) -> Snapshot:
        """Return the present state, with advice."""
        with self._lock:
            if self._last is None or self._clock() - self._last[0] >= FRESH_SECONDS:
                standing = () if self._last is None else tuple(each.code for each in self._last[1].advice)
                seen = self._look()
                self._last = self._clock(), replace(seen, advice=advise(seen, standing))
            return self._last[1]

    def _look(self) -> Snapshot:
        machine = self._meter.machine.read(self._meter.devices)
        queue = queue_of(self._recognizer)
        rate = self._meter.recent.rate(RATE_SECONDS)
        minute = self._meter.recent.total(_STAGE_SECONDS)
        hit_rate, lookups = _cache(self._meter.recent.total(_CACHE_SECONDS))
        return Snapshot(
            cpu_percent=machine.cpu_percent,
            memory_used=machine.memory_used,
            memory_total=machine.memory_total,
            process_memory=machine.process_memory,
            process_swap=machine.process_swap,
            swap_used=machine.swap_used,
            gpus=tuple(self._use.of(place, gpu, rate.get("run", 0.0)) for place, gpu in enumerate(machine.gpus)),
            queue_seconds=queue.seconds,
            queue_bound=queue.bound,
            requests_per_second=rate.get("requests", 0.0),
            realtime_factor=rate.get("audio", 0.0),
            cache_hit_rate=hit_rate,
            cache_lookups=lookups,
            stages={stage: minute[stage] for stage in _WORK if minute.get(stage)},
            waiting_share=min(1.0, minute.get("wait", 0.0) / minute["answer"]) if minute.get("answer") else 0.0,
        )


def _cache(counts: Mapping[str, float]) -> tuple[float | None, int]:
    """Return the share of look-ups that found something, and how many there were."""
    hits, lookups = counts.get("hits", 0.0), counts.get("hits", 0.0) + counts.get("misses", 0.0)
    return (hits / lookups if lookups else None), int(lookups)


class _SteadyUse:
    """The use of cards, averaged over the looks of the last seconds: a card's own figure jumps from tape to tape."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[int, deque[tuple[float, float]]] = {}

    def of(self, place: int, gpu: Gpu, running: float) -> Gpu:
        """Return a card with its steady use; one that does not say (MIG) is in use while tapes are `running`."""
        now, seen = self._clock(), self._seen.setdefault(place, deque())
        seen.append((now, min(100.0, 100 * running) if gpu.utilisation is None else gpu.utilisation))
        while seen[0][0] < now - RATE_SECONDS:
            seen.popleft()
        return replace(gpu, utilisation=sum(use for _, use in seen) / len(seen))

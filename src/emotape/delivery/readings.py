"""What the machine says of itself, cheaply: processor, memory, swap, graphics cards."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import psutil

from emotape.engine.control_group import ControlGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FRESH_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Gpu:
    """A graphics card: utilisation in percent (None: it does not say), memory in bytes."""

    name: str
    utilisation: float | None
    memory_used: int
    memory_total: int


@dataclass(frozen=True)
class Reading:
    """One look at the machine.

    cpu_percent     of the processor time that this process may use: the machine's, or its control group's
    memory_used     bytes in use, and what there is of them: the machine's, or its control group's if that is less
    process_memory  resident bytes of this process, without those that decode for it
    process_swap    bytes of this process that lie in swap; None where the system does not say
    swap_used       bytes of the machine's swap in use
    process_cpu     seconds of processor time that this process has used
    gpus            the cards that the network runs on
    """

    cpu_percent: float
    memory_used: int
    memory_total: int
    process_memory: int
    process_swap: int | None
    swap_used: int
    process_cpu: float = 0.0
    gpus: tuple[Gpu, ...] = ()


class Cards(Protocol):
    """Knows the graphics cards."""

    def read(self, devices: Sequence[str]) -> tuple[Gpu, ...]:
        """Look at the cards among these torch devices. Never raises."""


class MachineReader:
    """Looks at the machine, at most once in `FRESH_SECONDS`; any thread may ask."""

    def __init__(self, cards: Cards, clock: Callable[[], float] = time.monotonic) -> None:
        self._cards = cards
        self._clock = clock
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._group = ControlGroup.of_this_process()
        self._last: tuple[float, Reading] | None = None
        self._burnt: tuple[float, float] | None = None
        psutil.cpu_percent()  # the next one counts from here

    def read(self, devices: Sequence[str]) -> Reading:
        """Return the present state, with the cards among these torch devices."""
        with self._lock:
            now = self._clock()
            if self._last is None or now - self._last[0] >= FRESH_SECONDS:
                self._last = now, self._look(devices, now)
            return self._last[1]

    def _look(self, devices: Sequence[str], now: float) -> Reading:
        used, total = self._memory()
        return Reading(
            cpu_percent=self._cpu_percent(now),
            memory_used=used,
            memory_total=total,
            process_memory=int(self._process.memory_info().rss),
            process_swap=process_swap(),
            swap_used=int(psutil.swap_memory().used),
            process_cpu=time.process_time(),
            gpus=self._cards.read(devices),
        )

    def _memory(self) -> tuple[int, int]:
        machine = psutil.virtual_memory()
        group = self._group.memory()
        if group is None or group[1] >= machine.total:
            return machine.total - machine.available, machine.total
        return group

    def _cpu_percent(self, now: float) -> float:
        """Return the share of what may be used: with a quota, what the group took of it since the last look."""
        whole = psutil.cpu_percent()
        cores, burnt = self._group.cores(), self._group.cpu_seconds()
        if cores is None or burnt is None:
            return whole
        before, self._burnt = self._burnt, (now, burnt)
        if before is None or now <= before[0]:
            return whole
        return min(100.0, 100 * (burnt - before[1]) / ((now - before[0]) * cores))


def process_swap() -> int | None:
    """Return the bytes of this process that lie in swap, as Linux counts them; None elsewhere."""
    try:
        with open(f"/proc/{os.getpid()}/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123 - quicker
            for line in status:
                if line.startswith("VmSwap:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None

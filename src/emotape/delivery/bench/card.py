"""What a graphics card can do and how busy it is, as torch tells; a processor in its place answers what it can."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean, median
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ASK_EVERY: Final = 0.02  # seconds


def is_card(device: str) -> bool:
    """Return whether torch runs a device through CUDA."""
    import torch

    return torch.device(device).type == "cuda"


def describe(device: str) -> dict[str, object]:
    """Return a device's name and what decides its speed."""
    import torch

    if not is_card(device):
        return {"device": device, "card": None}
    found = torch.cuda.get_device_properties(device)
    return {
        "device": device,
        "card": found.name,
        "memory GiB": round(found.total_memory / 2**30, 1),
        "multiprocessors": found.multi_processor_count,
        "capability": f"{found.major}.{found.minor}",
        "CUDA": torch.version.cuda,
    }


def milliseconds(work: Callable[[], object], device: str) -> float:
    """Return how long the device takes for some work: of a card the median of twenty, after three to be warm."""
    times = 20 if is_card(device) else 1
    for _ in range(times // 6):
        work()
    return median(_milliseconds(work, device) for _ in range(times))


def _milliseconds(work: Callable[[], object], device: str) -> float:
    import torch

    if not is_card(device):
        began = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - began)
    with torch.cuda.device(device):
        events: Any = torch.cuda.Event
        first, last = events(enable_timing=True), events(enable_timing=True)
        first.record()
        work()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last))


def matrix_peak(device: str, size: int) -> float:
    """Return the operations a second of a product of square matrices in bfloat16, of random values."""
    import torch

    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / (milliseconds(lambda: one @ other, device) / 1000)


@dataclass
class Memory:
    """The most memory on a device since `watched` began, in bytes: in tensors, and held for them by torch."""

    allocated: int | None = None
    reserved: int | None = None


@contextmanager
def watched_memory(device: str) -> Iterator[Memory]:
    """Count the most memory that this process has on a device at once; None where torch does not count."""
    import torch

    found = Memory()
    if not is_card(device):
        yield found
        return
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    yield found
    torch.cuda.synchronize(device)
    found.allocated = torch.cuda.max_memory_allocated(device) - before[0]
    found.reserved = torch.cuda.max_memory_reserved(device) - before[1]


@dataclass
class Busy:
    """How busy the card said that it was, in percent, each time that it was asked; why it could not be asked."""

    percent: list[float] = field(default_factory=list)
    reason: str | None = None

    @property
    def mean(self) -> float | None:
        """The mean, None where nothing is known."""
        return mean(self.percent) if self.percent else None


@contextmanager
def watched_use(device: str) -> Iterator[Busy]:
    """Ask the card again and again how busy it is (NVML, if pynvml is there)."""
    found, stop = Busy(), Event()
    thread = Thread(target=_ask, args=(device, found, stop), name="emotape-bench-use", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def _ask(device: str, found: Busy, stop: Event) -> None:
    import torch

    if not is_card(device):
        found.reason = "only a graphics card says how busy it is"
        return
    while not stop.wait(_ASK_EVERY):
        try:
            found.percent.append(float(torch.cuda.utilization(device)))
        except Exception as error:  # noqa: BLE001 - NVML's own errors; a figure is missing then, and the report says so
            found.reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            return

"""What is not counted but looked at when Prometheus asks: queue, readiness, load of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from emotape.delivery.api.service import Service
    from emotape.delivery.readings import MachineReader, Reading
    from emotape.delivery.recent import Recent
    from emotape.delivery.recognition import Recognition
    from emotape.wording import Language

RATE_SECONDS: Final = 10


@dataclass(frozen=True)
class Queue:
    """Seconds of audio that wait for a device, and how many may now; None while no model is loaded."""

    seconds: float
    bound: float | None


def queue_of(recognizer: Recognition) -> Queue:
    """Look at a recognizer's queue; loads nothing."""
    return Queue(recognizer.waiting_seconds, recognizer.queue_seconds)


class Vitals:
    """A collector of prometheus-client: looks at the machine, and at `service` once there is one."""

    def __init__(self, machine: MachineReader, devices: Callable[[], Sequence[str]], recent: Recent) -> None:
        self._machine = machine
        self._devices = devices
        self._recent = recent
        self.service: Service | None = None

    def collect(self) -> Iterator[Metric]:
        """Look."""
        yield from self._of_service()
        yield from _of_machine(self._machine.read(self._devices()))
        rate = self._recent.rate(RATE_SECONDS)
        yield _gauge(
            "emotape_realtime_factor",
            rate.get("audio", 0.0),
        )

    def _of_service(self) -> Iterator[Metric]:
        ready = self.service is not None and self.service.readiness.phase == "ready"
        yield _gauge("emotape_ready", float(ready))
        queue = Queue(0.0, None) if self.service is None else queue_of(self.service.recognizer)
        yield _gauge("emotape_model_resident", float(queue.bound is not None))
        yield _gauge("emotape_queue_seconds", queue.seconds)
        yield _gauge("emotape_queue_limit_seconds", queue.bound)
        under_way = 0 if self.service is None else self.service.readiness.under_way
        yield _gauge("emotape_requests_under_way", under_way)


def _of_machine(reading: Reading) -> Iterator[Metric]:
    yield _gauge("emotape_cpu_ratio", reading.cpu_percent / 100)
    yield _gauge("emotape_memory_used_bytes", reading.memory_used)
    yield _gauge("emotape_memory_total_bytes", reading.memory_total)
    yield _gauge("emotape_process_memory_bytes", reading.process_memory)
    yield _gauge("emotape_process_swap_bytes", reading.process_swap)
    yield _gauge("emotape_swap_used_bytes", reading.swap_used)
    cpu = CounterMetricFamily("emotape_process_cpu_seconds", meaning("emotape_process_cpu_seconds"))
    cpu.add_metric([], reading.process_cpu)
    yield cpu
    yield from _of_cards(reading)


def _of_cards(reading: Reading) -> Iterator[Metric]:
    use = _labelled("emotape_gpu_utilisation_ratio")
    used = _labelled("emotape_gpu_memory_used_bytes")
    total = _labelled("emotape_gpu_memory_total_bytes")
    for place, gpu in enumerate(reading.gpus):
        labels = [str(place), gpu.name]
        if gpu.utilisation is not None:
            use.add_metric(labels, gpu.utilisation / 100)
        used.add_metric(labels, gpu.memory_used)
        total.add_metric(labels, gpu.memory_total)
    yield from (use, used, total)


def meaning(name: str, language: Language = "en") -> str:
    """Return what a metric means."""
    return interface_text(f"metric_{name}", language)


def _gauge(name: str, value: float | None) -> GaugeMetricFamily:
    """Return a gauge, without a sample where nothing is known."""
    family = GaugeMetricFamily(name, meaning(name))
    if value is not None:
        family.add_metric([], value)
    return family


def _labelled(name: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning(name), labels=["gpu", "name"])

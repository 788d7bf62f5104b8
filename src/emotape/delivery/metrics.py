"""Prometheus' view of the service: a listener that counts facts, and the route that tells the sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from emotape.delivery.api.errors import error_responses
from emotape.delivery.cards import NvidiaCards
from emotape.delivery.readings import MachineReader
from emotape.delivery.recent import Recent
from emotape.delivery.vitals import Vitals, meaning
from emotape.events import (
    Adapted,
    CacheDown,
    CacheHit,
    CacheMiss,
    Decoded,
    Event,
    MemoryShort,
    ModelLoaded,
    QuotasDown,
    Settled,
    TapeRan,
)
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from emotape.delivery.api.service import Service
    from emotape.delivery.exchanges import Exchange
    from emotape.delivery.readings import Cards
    from emotape.wording import Language

SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds: from a hit in the cache to a long recording in a full queue."""
_FILLS: Final = tuple(tenth / 10 for tenth in range(1, 11))
_OUTCOMES: Final = {"caller": "rejected", "load": "refused"}


class Meter:
    """Counts what the engine states and what HTTP clients get. An `Observer`; any thread may tell it.

    `recent` holds the last minutes for the monitor, `machine` what the machine says of itself, `devices` where the
    network runs.
    """

    def __init__(self, cards: Cards | None = None) -> None:
        self.registry = CollectorRegistry()
        self.recent = Recent()
        self.machine = MachineReader(cards or NvidiaCards())
        self.devices: tuple[str, ...] = ()
        self._define_requests()
        self._define_engine()
        self._define_http()
        self._vitals = Vitals(self.machine, lambda: self.devices, self.recent)
        self.registry.register(self._vitals)
        self._listeners: dict[type[Any], Callable[[Any], None]] = {
            Settled: self._settled,
            Decoded: self._decoded,
            TapeRan: self._tape_ran,
            CacheHit: self._cache_hit,
            CacheMiss: self._cache_miss,
            CacheDown: lambda _: self._cache_failures.inc(),
            QuotasDown: lambda _: self._quota_failures.inc(),
            MemoryShort: lambda event: self._memory_short.labels(event.device).inc(),
            Adapted: lambda event: self._adaptations.labels(event.what, event.reason).inc(),
            ModelLoaded: self._model_loaded,
        }

    def __call__(self, event: Event, /) -> None:
        """Count one fact."""
        listener = self._listeners.get(type(event))
        if listener is not None:
            listener(event)

    def watch(self, service: Service) -> None:
        """Also tell, from now on, how this service is: its queue, and whether it takes work."""
        self._vitals.service = service

    def exchanged(self, exchange: Exchange) -> None:
        """Count one HTTP exchange or WebSocket."""
        self._http_requests.labels(exchange.method, exchange.route, str(exchange.status)).inc()
        if exchange.method != "WEBSOCKET":
            self._http_seconds.labels(exchange.method, exchange.route).observe(exchange.seconds)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(_Undated(self.registry))

    def _define_requests(self) -> None:
        self._requests = Counter(
            "emotape_requests",
            meaning("emotape_requests"),
            ["outcome", "code"],
            registry=self.registry,
        )
        self._refusals = Counter("emotape_refusals", meaning("emotape_refusals"), ["code"], registry=self.registry)
        for code in ("overloaded", "expired"):  # a series that begins above 0 has no rate
            self._refusals.labels(code)
        self._audio = Counter("emotape_audio_seconds", meaning("emotape_audio_seconds"), registry=self.registry)
        self._request_seconds = Histogram(
            "emotape_request_seconds",
            meaning("emotape_request_seconds"),
            buckets=SHORT,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "emotape_stage_seconds",
            meaning("emotape_stage_seconds"),
            ["stage"],
            buckets=SHORT,
            registry=self.registry,
        )
        self._cache_hits = Counter(
            "emotape_cache_hits",
            meaning("emotape_cache_hits"),
            ["kind"],
            registry=self.registry,
        )
        self._cache_misses = Counter("emotape_cache_misses", meaning("emotape_cache_misses"), registry=self.registry)
        self._cache_failures = Counter(
            "emotape_cache_failures", meaning("emotape_cache_failures"), registry=self.registry
        )
        self._quota_failures = Counter(
            "emotape_quota_failures", meaning("emotape_quota_failures"), registry=self.registry
        )

    def _define_engine(self) -> None:
        self._tape_fill = Histogram(
            "emotape_tape_fill_ratio",
            meaning("emotape_tape_fill_ratio"),
            buckets=_FILLS,
            registry=self.registry,
        )
        self._run_seconds = Counter(
            "emotape_run_seconds", meaning("emotape_run_seconds"), ["device"], registry=self.registry
        )
        self._run_audio = Counter(
            "emotape_run_audio_seconds", meaning("emotape_run_audio_seconds"), ["device"], registry=self.registry
        )
        self._memory_short = Counter(
            "emotape_memory_short", meaning("emotape_memory_short"), ["device"], registry=self.registry
        )
        self._adaptations = Counter(
            "emotape_adaptations", meaning("emotape_adaptations"), ["what", "reason"], registry=self.registry
        )
        self._model = Gauge(
            "emotape_model_info",
            meaning("emotape_model"),
            ["model", "digest", "device", "dtype", "version"],
            registry=self.registry,
        )
        self._load_seconds = Gauge(
            "emotape_model_load_seconds", meaning("emotape_model_load_seconds"), registry=self.registry
        )

    def _define_http(self) -> None:
        self._http_requests = Counter(
            "emotape_http_requests",
            meaning("emotape_http_requests"),
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._http_seconds = Histogram(
            "emotape_http_request_seconds",
            meaning("emotape_http_request_seconds"),
            ["method", "route"],
            buckets=SHORT,
            registry=self.registry,
        )

    def _settled(self, event: Settled) -> None:
        self._requests.labels(_outcome(event), event.code or "").inc()
        if event.code is not None:
            if event.fault == "load" and event.code != "cancelled":
                self._refusals.labels(event.code).inc()
            self.recent.add({"requests": 1})
            return
        self._audio.inc(event.audio_seconds)
        self._request_seconds.observe(event.seconds)
        for stage, seconds in event.stages.items():
            self._stage_seconds.labels(stage).observe(seconds)
        work = {name: event.stages.get(name, 0.0) for name in ("wait", "window", "finish")}
        self.recent.add({"requests": 1, "audio": event.audio_seconds, "answer": event.seconds, **work})

    def _decoded(self, event: Decoded) -> None:
        self.recent.add({"decode": event.seconds})

    def _tape_ran(self, event: TapeRan) -> None:
        self._tape_fill.observe(event.tokens / event.capacity)
        self._run_seconds.labels(event.device).inc(event.seconds)
        self._run_audio.labels(event.device).inc(event.audio_seconds)
        self.recent.add({"run": event.seconds})

    def _cache_hit(self, event: CacheHit) -> None:
        self._cache_hits.labels("shared" if event.shared else "stored").inc()
        self.recent.add({"hits": 1})

    def _cache_miss(self, _: CacheMiss) -> None:
        self._cache_misses.inc()
        self.recent.add({"misses": 1})

    def _model_loaded(self, event: ModelLoaded) -> None:
        self.devices = tuple(event.device.split(","))
        self._model.labels(event.model, event.digest, event.device, event.dtype, __version__).set(1)
        self._load_seconds.set(event.seconds)


class _Undated(Collector):
    """A registry without the times at which its series began, which would double them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Give every figure."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _outcome(event: Settled) -> str:
    if event.code is None:
        return "answered"
    if event.code == "cancelled":
        return "withdrawn"
    return _OUTCOMES.get(event.fault or "", "failed")


def metrics_table(language: Language) -> str:
    """Return the rows of the table in docs/operations.md: every metric, as Prometheus knows it."""
    return "\n".join(
        f"| `{_exposed_name(metric)}` | {metric.type} | {meaning(_declared_name(metric), language)} |"
        for metric in sorted(Meter().registry.collect(), key=lambda metric: metric.name)
    )


def _exposed_name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _declared_name(metric: Metric) -> str:
    return metric.name.removesuffix("_info")


def router(meter: Meter) -> APIRouter:
    """Return the route /metrics. Where keys are needed it needs one, like everything but /livez and /readyz."""
    routes = APIRouter(tags=["health"])

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."},
            **{status: told for status, told in error_responses().items() if status in (401, 403)},
        },
        summary="Figures for Prometheus",
    )
    def metrics() -> Response:
        return Response(meter.exposition(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    return routes

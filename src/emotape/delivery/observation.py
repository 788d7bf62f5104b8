"""Everything that listens to a server, in one place: figures, traces, logs, and what it all means."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from emotape.delivery import logs, metrics
from emotape.delivery.adaptations import AdaptationLog
from emotape.delivery.engine_log import EngineLog
from emotape.delivery.exchanges import Exchanges, tally
from emotape.delivery.metrics import Meter
from emotape.delivery.monitor import Monitor
from emotape.delivery.traces import Traced, Traces, open_traces
from emotape.events import Observer, fan_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from emotape.delivery.api.service import Service
    from emotape.delivery.recognition import Recognition
    from emotape.settings import Settings
    from emotape.wording import Language


class Observation:
    """Listens to one server. `observer` is for its recognizer, which is made before the service."""

    def __init__(self, traces: Traces | None = None, language: Language = "en") -> None:
        self.meter = Meter()
        self._traces = traces
        self.observer: Observer = fan_out(
            self.meter, tally, AdaptationLog(language), EngineLog(language), *([] if traces is None else [traces])
        )

    def install(self, app: FastAPI, service: Service) -> None:
        """Give an application /metrics, and watch all that goes through it; to be called after its other middleware."""
        self.meter.watch(service)
        app.include_router(metrics.router(self.meter))
        app.add_middleware(Exchanges, (self.meter.exchanged, logs.exchanged))
        if self._traces is not None:
            app.add_middleware(Traced, self._traces)

    def monitor(self, recognizer: Recognition) -> Monitor:
        """Return what looks at the machine and the recognizer."""
        return Monitor(recognizer, self.meter)

    def close(self) -> None:
        """Send what traces are left."""
        if self._traces is not None:
            self._traces.close()


@contextmanager
def observing(settings: Settings) -> Iterator[Observation]:
    """Observe as the settings say, logs included. Raises BadRequest ("traces_not_installed")."""
    with logs.written(logs.LogOptions(settings.log_format, settings.log_level)):
        observation = Observation(open_traces(settings.traces_endpoint), settings.language or "en")
        try:
            yield observation
        finally:
            observation.close()

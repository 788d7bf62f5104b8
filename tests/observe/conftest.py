"""An observed service over the bundled model, and readings of machines that are not here."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from emotape.delivery.api.app import create_app
from emotape.delivery.api.service import Service
from emotape.delivery.observation import Observation
from emotape.delivery.traces import Traces
from emotape.recognizer import Recognizer
from emotape.store.cache.memory import MemoryCache
from tests.conftest import AUDIO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SPEECH = AUDIO / "thorsten_neutral.opus"


class Observed:
    """A service, who observes it, a client of it, and the spans that it drew."""

    def __init__(self, service: Service, observation: Observation, client: TestClient, spans: InMemorySpanExporter):
        self.service = service
        self.observation = observation
        self.client = client
        self.spans = spans

    def figure(self, name: str, **labels: str) -> float:
        """Return one figure as Prometheus would see it, 0 where there is none yet."""
        return self.observation.meter.registry.get_sample_value(name, labels) or 0.0

    def send(self, content: bytes, **headers: str) -> int:
        """Send one recording; return the status."""
        files = {"file": ("secret-name.opus", content)}
        return self.client.post("/v1/recognize", files=files, headers=headers).status_code


@contextmanager
def observed() -> Iterator[Observed]:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    observation = Observation(Traces(SimpleSpanProcessor(spans)))
    with Recognizer(observer=observation.observer, cache=MemoryCache()) as recognizer:
        service = Service(recognizer)
        service.readiness.mark_ready()
        app = create_app(service)
        observation.install(app, service)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield Observed(service, observation, client, spans)
    observation.close()


@pytest.fixture(scope="session")
def desk() -> Iterator[Observed]:
    with observed() as opened:
        yield opened


@pytest.fixture
def unheard() -> bytes:
    """A second of noise that no cache knows."""
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.random.default_rng().standard_normal(16_000), 16_000, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="session")
def speech() -> bytes:
    return SPEECH.read_bytes()

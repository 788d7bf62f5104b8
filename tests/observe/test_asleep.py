"""A served model that was let go: the service stays ready, tells what it knows, and answers after loading again."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from starlette.testclient import TestClient

from emotape import Recognizer, RecognizerOptions
from emotape.delivery.api.app import create_app
from emotape.delivery.api.service import Service
from emotape.delivery.observation import Observation

if TYPE_CHECKING:
    import pytest

    from emotape.delivery.metrics import Meter


def figure(meter: Meter, name: str) -> float | None:
    return meter.registry.get_sample_value(name)


def fall_asleep(recognizer: Recognizer) -> None:
    end = time.monotonic() + 60
    while not recognizer.is_asleep:
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_a_sleeping_service_is_ready_and_wakes_for_work_alone(
    monkeypatch: pytest.MonkeyPatch, speech: bytes, unheard: bytes
) -> None:
    """Probes, figures, labels and models wake nobody; a recording does, and is answered."""
    monkeypatch.setattr("emotape.engine.host.TICK_SECONDS", 0.01)
    observation = Observation()
    options = RecognizerOptions(adapt=True, idle_unload_seconds=0.2)
    with Recognizer(options=options, observer=observation.observer) as recognizer:
        service = Service(recognizer)
        service.readiness.mark_ready()
        app = create_app(service)
        observation.install(app, service)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            fall_asleep(recognizer)
            for address in ("/livez", "/readyz", "/metrics", "/v1/labels", "/v1/models", "/v1/limits"):
                assert client.get(address).status_code == 200
            assert recognizer.is_asleep
            assert recognizer.is_ready
            assert figure(observation.meter, "emotape_ready") == 1
            assert figure(observation.meter, "emotape_model_resident") == 0
            assert figure(observation.meter, "emotape_queue_limit_seconds") is None
            for content in (speech, unheard):
                fall_asleep(recognizer)
                answer = client.post("/v1/recognize", files={"file": ("clip", content)})
                assert answer.status_code == 200
            assert (figure(observation.meter, "emotape_model_load_seconds") or 0) > 0
    observation.close()

"""A service is ready when nothing is left that only its first request would load."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from emotape.audio import speech
from emotape.delivery.api.readiness import Readiness
from emotape.delivery.cli import serve
from emotape.delivery.rehearsal import rehearse

if TYPE_CHECKING:
    import pytest


def test_what_hears_speech_is_there_after_a_rehearsal() -> None:
    speech._loaded.cache_clear()
    rehearse()
    assert speech._loaded.cache_info().currsize == 1


def test_a_server_rehearses_before_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    readiness, done = Readiness(), threading.Event()
    order: list[str] = []

    def note(what: str) -> None:
        order.append(f"{what}, {readiness.phase}")

    recognizer = SimpleNamespace(open=lambda: note("open"), model=SimpleNamespace(name="a model"))
    jobs = SimpleNamespace(start=done.set)
    service: Any = SimpleNamespace(recognizer=recognizer, readiness=readiness, jobs=jobs)
    monkeypatch.setattr(serve, "rehearse", lambda: note("rehearse"))
    serve._load(service, "http://127.0.0.1:1", "en")
    assert done.wait(60)
    assert [*order, readiness.phase] == ["open, loading", "rehearse, loading", "ready"]

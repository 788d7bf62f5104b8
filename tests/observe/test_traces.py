"""Traces: http → recognize → stages, inside the caller's trace, and nothing at all unless configured."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from emotape.delivery import traces
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from tests.observe.conftest import Observed

TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE:032x}-{PARENT:016x}-01"


def drawn(desk: Observed) -> dict[str, ReadableSpan]:
    spans = {span.name: span for span in desk.spans.get_finished_spans()}
    desk.spans.clear()
    return spans


def test_a_request_is_drawn_from_http_to_its_stages(desk: Observed, unheard: bytes) -> None:
    """Each inside the one above it, the stages one after another, all in the trace that the caller began."""
    desk.spans.clear()
    assert desk.send(unheard, traceparent=TRACEPARENT) == 200
    spans = drawn(desk)
    http, recognize = spans["POST /v1/recognize"], spans["recognize"]
    assert http.parent is not None
    assert http.parent.span_id == PARENT
    assert recognize.parent is not None
    assert recognize.parent.span_id == http.get_span_context().span_id  # type: ignore[union-attr]
    assert {span.get_span_context().trace_id for span in spans.values()} == {TRACE}  # type: ignore[union-attr]
    stages = [spans[name] for name in ("wait", "decode", "cache", "window", "queue", "run", "finish")]
    assert all(span.parent.span_id == recognize.get_span_context().span_id for span in stages)  # type: ignore[union-attr]
    ends = [recognize.start_time, *(span.end_time for span in stages)]
    assert [span.start_time for span in stages] == ends[:-1]
    assert ends[-1] <= recognize.end_time  # type: ignore[operator]
    assert dict(http.attributes or {}) == {
        "http.request.method": "POST", "http.route": "/v1/recognize", "http.response.status_code": 200,
    }  # fmt: skip


def test_an_error_is_marked_with_its_code(desk: Observed) -> None:
    desk.spans.clear()
    assert desk.send(b"words that are no audio") == 415
    spans = drawn(desk)
    assert (spans["recognize"].attributes or {})["error.type"] == "text_not_audio"
    assert "error.type" not in (spans["POST /v1/recognize"].attributes or {}), "the caller's fault is no fault of ours"


def test_without_a_caller_a_request_begins_a_trace_of_its_own(desk: Observed, speech: bytes) -> None:
    desk.spans.clear()
    desk.service.recognizer.submit(speech).result()
    assert drawn(desk)["recognize"].parent is None


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in traces._ENDPOINTS:
        monkeypatch.delenv(name, raising=False)


def test_there_are_none_unless_somebody_wants_them() -> None:
    assert traces.open_traces(None) is None


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", None])
def test_the_setting_or_the_variable_names_the_collector(monkeypatch: pytest.MonkeyPatch, endpoint: str | None) -> None:
    if endpoint is None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    opened = traces.open_traces(endpoint)
    assert opened is not None
    opened.close()


def test_wanting_them_without_the_package_is_an_error_that_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "find_spec", lambda name: None if name.startswith("opentelemetry") else find_spec(name))
    with pytest.raises(BadRequest) as caught:
        traces.open_traces("http://127.0.0.1:9")
    assert caught.value.code == "traces_not_installed"
    assert "emotape[otel]" in caught.value.text("zh").cure


def test_observing_without_traces_imports_nothing_of_the_sdk() -> None:
    code = (
        "import sys; from emotape.delivery.observation import Observation; Observation();"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""OpenTelemetry traces: http → recognize → wait, decode, window, queue, run, finish; only where they are configured.

Nothing of OpenTelemetry's SDK is imported unless there is an endpoint to send to. Spans carry routes, statuses, seconds
and error codes; no content, no names, no addresses of callers.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.exchanges import method_of, route_of
from emotape.errors import BadRequest
from emotape.events import Event, Settled
from emotape.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_ORDER: Final = ("wait", "decode", "cache", "window", "queue", "run", "finish")
_NANOSECONDS: Final = 1_000_000_000
_SERVER_ERROR: Final = 500


def open_traces(endpoint: str | None) -> Traces | None:
    """Return where spans go, or None where neither the setting nor OpenTelemetry's variables name an endpoint.

    `endpoint` is a collector's address for OTLP over HTTP, such as http://localhost:4318. Raises BadRequest
    ("traces_not_installed").
    """
    if endpoint is None and not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    for package in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        if not _installed(package):
            raise BadRequest("traces_not_installed", package=package)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter() if endpoint is None else OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
    return Traces(BatchSpanProcessor(exporter))


class Traces:
    """Makes spans and hands them to a processor of OpenTelemetry's SDK. An `Observer`; closing sends what is left."""

    def __init__(self, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "emotape"}
        resource = Resource.create(named | {"service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self.tracer = self._provider.get_tracer("emotape", __version__)

    def __call__(self, event: Event, /) -> None:
        """Draw a settled request and its stages, below the span in whose context it was made."""
        if not isinstance(event, Settled):
            return
        from opentelemetry.trace import set_span_in_context

        end = time.time_ns()
        start = end - int(event.seconds * _NANOSECONDS)
        heard = {"emotape.audio_seconds": event.audio_seconds}
        span = self.tracer.start_span("recognize", start_time=start, attributes=heard)
        if event.code is not None:
            _mark_failed(span, event.code)
        self._draw_stages(event.stages, start, end, set_span_in_context(span))
        span.end(end)

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self._provider.shutdown()

    def _draw_stages(self, stages: Mapping[str, float], start: int, end: int, parent: Context) -> None:
        """Draw the stages one after another, as they were."""
        for stage in _ORDER:
            if stage in stages:
                stop = min(end, start + int(stages[stage] * _NANOSECONDS))
                self.tracer.start_span(stage, parent, start_time=start).end(stop)
                start = stop


class Traced:
    """ASGI middleware: a span for every HTTP exchange, within the caller's trace where it sends `traceparent`."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = traces.tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Draw one exchange."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind

        method = method_of(scope)
        with self._tracer.start_as_current_span(
            method,
            self._propagator.extract(_headers(scope)),
            SpanKind.SERVER,
            {"http.request.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            async def watched(message: Message) -> None:
                _note_status(span, message)
                await send(message)

            try:
                await self._app(scope, receive, watched)
            except Exception as error:
                _mark_failed(span, type(error).__name__)
                raise
            finally:
                span.update_name(f"{method} {route_of(scope)}")
                span.set_attribute("http.route", route_of(scope))


def _headers(scope: Scope) -> dict[str, str]:
    """Return the headers that say which trace a request belongs to."""
    wanted = (b"traceparent", b"tracestate")
    return {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name.lower() in wanted}


def _note_status(span: Span, message: Message) -> None:
    if message["type"] in ("http.response.start", "websocket.http.response.start"):
        status = message["status"]
        span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            _mark_failed(span, str(status))


def _mark_failed(span: Span, code: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even its parent
        return False


def trace_ids() -> dict[str, Any]:
    """Return the ids of the current span for a log line; none where there is no span."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return {}
    context = api.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

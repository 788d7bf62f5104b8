"""What a running server says of itself: its monitor, and from its metrics what the monitor leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from emotape.client import calls
from emotape.client.connection import ClientOptions, http_settings, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from prometheus_client import Metric

    from emotape.wording import Language

Answer = TypeVar("Answer")
_SECONDS: Final = 5.0  # that an answer may take
_NEEDED: Final = ("cpu_percent", "memory_used", "memory_total", "queue_seconds", "stages", "advice")


class Server:
    """A server that is looked at again and again, over one connection.

    Raises BadRequest ("server_address", "client_not_installed").
    """

    def __init__(self, url: str, key: str | None, language: Language) -> None:
        require("prometheus_client")
        settings = http_settings(url, key, ClientOptions(timeout=_SECONDS, language=language))
        import httpx

        self.url = url.rstrip("/")
        self._language = language
        self._http = httpx.Client(**settings)
        self._fill = TapeFill()

    def look(self) -> dict[str, Any]:
        """Return how the server is doing now, as plain values.

        They are those of its monitor, with `server` (its address), `ready`, `requests_under_way`, `tape_fill` (0 to 1,
        since the last look; None before the first tape) and `model` (None before it is loaded). Raises RemoteError
        ("server_unreachable", "server_answer"), Expired ("no_answer"), and whatever the server itself answers with.
        """
        seen = self._asked("page/monitor", _monitor, {"language": self._language})
        figures = self._asked("metrics", None, {})
        return {"server": self.url, **seen, **figures}

    def _asked(self, path: str, read: Callable[[Any], dict[str, Any]] | None, query: dict[str, Any]) -> dict[str, Any]:
        """Ask for JSON that `read` understands, or for metrics."""
        import httpx

        call = calls.Call("GET", path, read or _no_json, query)
        try:
            response = self._http.request(**call.sent(()))
        except httpx.TransportError as error:
            raise calls.lost(error, self.url, 1, _SECONDS) from error
        if read is None and response.is_success:
            return self._read_metrics(response.text)
        return calls.finished(call, response)

    def _read_metrics(self, text: str) -> dict[str, Any]:
        from prometheus_client.parser import text_string_to_metric_families

        families = {family.name: family for family in text_string_to_metric_families(text)}
        model = next((sample.labels for sample in _samples(families, "emotape_model_info")), None)
        return {
            "ready": _figure(families, "emotape_ready") == 1.0,
            "requests_under_way": int(_figure(families, "emotape_requests_under_way") or 0),
            "tape_fill": self._fill.of(families),
            "model": model,
        }

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TapeFill:
    """How full tapes are: those since the last look, or those of the last look with any."""

    def __init__(self) -> None:
        self._seen = (0.0, 0.0)
        self._last: float | None = None

    def of(self, families: dict[str, Metric]) -> float | None:
        """Return the mean fill of the newest tapes, 0 to 1; None before the first one."""
        name = "emotape_tape_fill_ratio"
        total, count = (_figure(families, name, f"{name}_{part}") or 0.0 for part in ("sum", "count"))
        before, self._seen = self._seen, (total, count)
        if count < before[1]:  # the server was started anew
            before = (0.0, 0.0)
        if count > before[1]:
            self._last = (total - before[0]) / (count - before[1])
        return self._last


def _monitor(found: Any) -> dict[str, Any]:
    """Return the monitor's document. Raises KeyError and TypeError for anything else."""
    for name in _NEEDED:
        found[name]
    return dict(found)


def _no_json(found: Any) -> dict[str, Any]:
    raise TypeError(f"metrics are text, not {type(found).__name__}")


def _samples(families: dict[str, Metric], family: str) -> Iterable[Any]:
    return families[family].samples if family in families else ()


def _figure(families: dict[str, Metric], family: str, name: str | None = None) -> float | None:
    """Return the value of a sample, if it is there."""
    return next((sample.value for sample in _samples(families, family) if sample.name == (name or family)), None)

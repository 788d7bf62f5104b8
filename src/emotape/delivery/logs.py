"""The server's log on standard error: text for people, or one line of JSON for each event.

Never a recording's content or name, never headers, keys or addresses of callers.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from emotape.delivery.traces import trace_ids
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.exchanges import Exchange
    from emotape.wording import Language

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

FACTS: Final = "emotape_facts"
_OURS: Final = ("emotape", "uvicorn", "opentelemetry")

access = logging.getLogger("emotape.access")
notices = logging.getLogger("emotape.notices")


@dataclass(frozen=True)
class LogOptions:
    """How the log is written. Without a level, JSON tells of every exchange and text of what needs attention only."""

    format: Format = "text"
    level: Level | None = None

    @property
    def threshold(self) -> int:
        """The least level that is written, as `logging` counts."""
        level = self.level or ("info" if self.format == "json" else "warning")
        return int(getattr(logging, level.upper()))


@contextmanager
def written(options: LogOptions) -> Iterator[None]:
    """Lead emotape's loggers, uvicorn's and OpenTelemetry's to standard error, and nowhere else, for a while.

    What the server says of itself (`say`) is always written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if options.format == "json" else TextFormatter())
    loggers = [logging.getLogger(name) for name in _OURS]
    before = [(logger, logger.handlers, logger.level, logger.propagate) for logger in (*loggers, notices)]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(options.threshold)
    notices.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def say(code: str, language: Language, **facts: object) -> None:
    """Say something of the server itself: that it listens, that it is ready."""
    notices.info(interface_text(code, language, **facts), extra={FACTS: {"event": code, **facts}})


def report(code: str, words: str) -> None:
    """Tell of an error of the server itself, in words for people."""
    notices.error(words, extra={FACTS: {"event": "error", "code": code}})


def exchanged(exchange: Exchange) -> None:
    """Tell of one exchange, at level info; whatever failed within has been told as what it was."""
    if access.isEnabledFor(logging.INFO):
        words = (exchange.method, exchange.route, exchange.status)
        access.info("%s %s %d", *words, extra={FACTS: _facts(exchange)})


def _facts(exchange: Exchange) -> dict[str, Any]:
    facts = {
        "event": "request",
        "request_id": exchange.id,
        "method": exchange.method,
        "route": exchange.route,
        "status": exchange.status,
        "seconds": round(exchange.seconds, 6),
    }
    if exchange.recordings:
        facts |= {"recordings": exchange.recordings, "audio_seconds": round(exchange.audio_seconds, 3)}
    if exchange.code is not None:
        facts["code"] = exchange.code
    return facts


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, the facts, the trace, and where an error came from."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FACTS, {}),
            **trace_ids(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # in ASCII, so that nothing in it ends a line


class TextFormatter(logging.Formatter):
    """The message, after its level unless it is the server's own words; an exchange also says how long and for whom."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        text = super().format(record)
        if record.name == notices.name:
            return text
        facts = getattr(record, FACTS, {})
        if facts.get("event") == "request":
            text = " ".join(filter(None, (text, f"{facts['seconds']:.3f} s", facts.get("code"), facts["request_id"])))
        return f"{record.levelname}: {text}"

"""Tells in words what became of the engine that its owner should know: what is slower, shorter or not used, and why."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from emotape.delivery.logs import FACTS
from emotape.events import (
    DeviceFailed,
    DeviceRefused,
    Event,
    MemoryShort,
    NotCompiled,
    NotFinite,
    PrecisionRefused,
    WeightsOffloaded,
)
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emotape.wording import Language

log = logging.getLogger("emotape.engine")

_CODES = {
    PrecisionRefused: "precision_refused",
    DeviceRefused: "device_refused",
    NotCompiled: "not_compiled",
    MemoryShort: "memory_short",
    DeviceFailed: "device_failed",
    NotFinite: "not_finite",
    WeightsOffloaded: "weights_offloaded",
}


class EngineLog:
    """An `Observer` that writes a warning for each of these facts."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def __call__(self, event: Event, /) -> None:
        """Tell of one fact, if it is one of these."""
        if (found := told(event, self._language)) is not None:
            words, facts = found
            log.warning(words, extra={FACTS: facts})


def told(event: Event, language: Language) -> tuple[str, Mapping[str, object]] | None:
    """Return what is said of a fact, and the fact as a log keeps it; None for one that nobody need know."""
    code = _CODES.get(type(event))
    if code is None:
        return None
    facts = asdict(event)
    words = facts
    if isinstance(event, PrecisionRefused):
        words = {**facts, "labels": "" if event.same_labels else interface_text("engine_other_labels", language)}
    return interface_text(f"engine_{code}", language, **words), {"event": code, **facts}

"""Tells in the log how a server adapted itself, and when its model went and came back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from emotape.delivery.logs import FACTS, say
from emotape.events import Adapted, Event, ModelLoaded, ModelUnloaded
from emotape.wording import interface_text

if TYPE_CHECKING:
    from emotape.wording import Language

log = logging.getLogger("emotape.adaptations")


class AdaptationLog:
    """An `Observer`. That memory gets short is a warning; other changes are told at level info."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._away = False

    def __call__(self, event: Event, /) -> None:
        """Tell of one fact, if it is one of these."""
        if isinstance(event, Adapted):
            self._adapted(event)
        elif isinstance(event, ModelUnloaded):
            self._away = True
            say("model_unloaded", self._language, model=event.model, minutes=event.idle_seconds / 60)
        elif isinstance(event, ModelLoaded) and self._away:
            self._away = False
            say("model_back", self._language, model=event.model, seconds=event.seconds)

    def _adapted(self, event: Adapted) -> None:
        level = logging.WARNING if event.reason in ("memory_tight", "memory_short") else logging.INFO
        if log.isEnabledFor(level):
            facts = {"what": event.what, "before": event.before, "after": event.after, "reason": event.reason}
            log.log(
                level, interface_text("adapted", self._language, **facts), extra={FACTS: {"event": "adapted", **facts}}
            )

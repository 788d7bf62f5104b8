"""Whether the service takes work: loading → ready → draining, or failed."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Final, Literal

from emotape.errors import EmotapeError, NotReady, as_fault

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("emotape")

Phase = Literal["loading", "ready", "failed", "draining"]
RETRY_SECONDS = 2.0
_POLL_SECONDS: Final = 0.05


class Readiness:
    """The service's phase; read from any thread. A new one is loading.

    `error` says why loading failed. `under_way` counts requests for work that are not answered yet.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.phase: Phase = "loading"
        self.error: EmotapeError | None = None
        self.under_way = 0

    def load(self, work: Callable[[], object], then: Callable[[EmotapeError | None], object]) -> threading.Thread:
        """Do the work of loading in a thread of its own, note how it ends, and tell `then` the error, if any."""
        thread = threading.Thread(target=self._load, args=(work, then), name="emotape-load", daemon=True)
        thread.start()
        return thread

    def mark_ready(self) -> None:
        """Take work from now on, unless the service is stopping already."""
        self._enter("ready")

    def drain(self) -> None:
        """Take no new work any more."""
        self._enter("draining")

    async def answered(self, seconds: float, hurried: Callable[[], bool] = lambda: False) -> int:
        """Wait until what was taken is answered, for so many seconds or until `hurried`; return how much is not."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.under_way and loop.time() < end and not hurried():
            await asyncio.sleep(_POLL_SECONDS)
        return self.under_way

    def check(self) -> None:
        """Raise NotReady unless work is taken."""
        if self.phase != "ready":
            raise NotReady(f"service_{self.phase}", retry_after=RETRY_SECONDS)

    def _load(self, work: Callable[[], object], then: Callable[[EmotapeError | None], object]) -> None:
        try:
            work()
        except Exception as error:
            log.exception("the model could not be loaded")
            self.error = as_fault(error)
        self._enter("failed" if self.error else "ready")
        then(self.error)

    def _enter(self, phase: Phase) -> None:
        with self._lock:
            if self.phase != "draining":
                self.phase = phase

"""One thread that does something light again and again."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("emotape")


class Ticker:
    """Calls `tick` every `seconds`, from `start` until `stop` or until it returns False.

    In the latter case `tick` is forgotten with all that it knows, and then `afterwards` is called.
    """

    def __init__(self, tick: Callable[[], bool], seconds: float, afterwards: Callable[[], None]) -> None:
        self._tick: Callable[[], bool] | None = tick
        self._afterwards = afterwards
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emotape-control", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a tick that is under way is waited for, unless it is the one that stops."""
        self._stopped.set()
        if self._thread.ident not in (None, threading.get_ident()):
            self._thread.join()

    def _run(self) -> None:
        while self._goes_on():
            if self._stopped.wait(self._seconds):
                return
        self._tick = None
        self._afterwards()

    def _goes_on(self) -> bool:
        try:
            return self._tick is not None and self._tick()
        except Exception:  # what controls the engine must never be what ends it
            log.exception("the engine could not be adapted")
            return True

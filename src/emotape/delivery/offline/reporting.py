"""How far a batch is: a line that is kept up to date at a terminal, and now and then a new one elsewhere."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.status import Status

    from emotape.delivery.offline.item import Source
    from emotape.delivery.offline.run import Tally
    from emotape.wording import Language

_LINE_SECONDS: Final = 15.0
_TERMINAL_SECONDS: Final = 0.2


class Count:
    """Counts a source's recordings beside the run, so that it can say what is left: `total`, None until it is known."""

    def __init__(self, source: Source) -> None:
        self.total: int | None = None
        self._source = source
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._count, name="emotape-count", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()

    def _count(self) -> None:
        counted = 0
        try:
            for _ in self._source.marks():
                counted += 1
                if self._leave.is_set():
                    return
        except Exception:  # noqa: BLE001 - the run itself meets the same, and tells it
            return
        self.total = counted


class Report:
    """Tells a person how far a run is, on `console`."""

    def __init__(
        self, console: Console, language: Language, count: Count, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._language = language
        self._count = count
        self._clock = clock
        self._began = clock()
        self._told = self._began
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if self._console.is_interactive:
            self._status = self._console.status(interface_text("progress", self._language))
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, tally: Tally) -> None:
        """Show how far the run is, unless that was told a moment ago."""
        now = self._clock()
        if now - self._told < (_LINE_SECONDS if self._status is None else _TERMINAL_SECONDS):
            return
        self._told = now
        if self._status is None:
            self._console.print(self.line(tally), soft_wrap=True)
        else:
            self._status.update(self.line(tally))

    def line(self, tally: Tally) -> str:
        """Return recordings, audio, speed, failures and what is left, in words."""
        seconds = max(self._clock() - self._began, 1e-9)
        line = interface_text(
            "batch_progress",
            self._language,
            files=tally.known + tally.now,
            failed=tally.failed,
            hours=tally.seconds / 3600,
            rate=tally.now / seconds,
            speed=tally.seconds / seconds,
        )
        return line + self._left(tally, seconds)

    def _left(self, tally: Tally, seconds: float) -> str:
        if self._count.total is None:
            return ""
        left = max(0, self._count.total - tally.known - tally.now)
        needed = left * seconds / tally.now if tally.now else 0.0
        return interface_text("batch_left", self._language, left=left, time=_duration(needed))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"

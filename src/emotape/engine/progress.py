"""How far a request is, for whoever watches it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")
Stage = Literal["waiting", "decoding", "queued", "running", "finishing", "done"]


@dataclass(frozen=True)
class Progress:
    """Where a request is on its way.

    stage          "waiting" for a decoding thread, "decoding", "queued" for a device, "running", "finishing", "done"
    ahead_seconds  seconds of audio that are queued before it
    windows        how many windows the recording has; 0 before that is known
    windows_done   how many of them the network has heard
    """

    stage: Stage
    ahead_seconds: float = 0.0
    windows: int = 0
    windows_done: int = 0


class Pending(Future[Answer]):
    """A future answer that can say at any time, to any thread, how far its request is."""

    def __init__(self) -> None:
        super().__init__()
        self._report: Callable[[], Progress] = lambda: Progress("waiting")

    def follow(self, report: Callable[[], Progress]) -> None:
        """Let `report` say how far the request is from now on."""
        self._report = report

    def progress(self) -> Progress:
        """Return how far the request is; "done" once it has its answer or was withdrawn."""
        return Progress("done") if self.done() else self._report()

"""How far a request is, for whoever watches it."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from emotape.errors import as_fault

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")
Stage = Literal["loading", "waiting", "decoding", "queued", "running", "finishing", "done"]


@dataclass(frozen=True)
class Progress:
    """Where a request is on its way.

    stage          "loading" while a model that was let go comes back, "waiting" for a decoding thread or for
                   room in memory, "decoding", "queued" for a device, "running", "finishing", "done"
    ahead_seconds  seconds of audio that are queued before it
    windows        how many windows the recording has; 0 before that is known
    windows_done   how many of them the network has heard
    """

    stage: Stage
    ahead_seconds: float = 0.0
    windows: int = 0
    windows_done: int = 0


class Pending(Future[Answer]):
    """A future answer that can say at any time, to any thread, how far its request is.

    Once it is done it holds nothing but its answer. Other futures hold what they once called for as long as they live;
    two that call each other, as those of one request do, would stay in memory, sound and all, until Python looks for
    cycles, and in a resident process it does so ever more rarely.
    """

    def __init__(self) -> None:
        super().__init__()
        self._report: Callable[[], Progress] = _waiting
        super().add_done_callback(_forget_report)

    def add_done_callback(self, fn: Callable[[Future[Answer]], object]) -> None:
        """Call `fn` with this future once it is done, or at once if it is; then let go of `fn`."""
        super().add_done_callback(_Once(fn))

    def follow(self, report: Callable[[], Progress]) -> None:
        """Let `report` say how far the request is from now on."""
        if not self.done():
            self._report = report

    def progress(self) -> Progress:
        """Return how far the request is; "done" once it has its answer or was withdrawn.

        What it follows may be done before it is: the rest is finishing.
        """
        report = self._report  # before done() is asked: the answer takes the report away
        if self.done():
            return Progress("done")
        now = report()
        return Progress("finishing") if now.stage == "done" else now


def fail(answer: Future[Any], error: BaseException) -> None:
    """Make an error a request's answer, unless it has one. Who keeps the error does not keep the sound.

    An error knows the frames that it came through, and those know who called them: the frame, too, where the error's
    own answer is. What anybody may meet, such as bad audio or a full queue, forgets them, so that it goes as soon as
    it was told; what is a fault of ours keeps where it came from, and goes when Python looks for cycles.
    """
    told = as_fault(error)
    each: BaseException | None = error
    while each is not None:
        clear_frames(each.__traceback__)
        if told.fault in ("caller", "load"):
            each.__traceback__ = None
        each = each.__cause__ or each.__context__
    with suppress(InvalidStateError):  # the caller left in the meantime
        answer.set_exception(told)


class _Once(Generic[Answer]):
    """A call that is forgotten when it is made."""

    def __init__(self, call: Callable[[Future[Answer]], object]) -> None:
        self._calls = [call]

    def __call__(self, future: Future[Answer]) -> None:
        self._calls.pop()(future)


def _waiting() -> Progress:
    return Progress("waiting")


def _forget_report(done: Future[Any]) -> None:
    if isinstance(done, Pending):
        done._report = _waiting  # noqa: SLF001 - its own

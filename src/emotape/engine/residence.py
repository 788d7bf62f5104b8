"""Something large that is loaded when it is needed and let go when it is not, without losing anybody at the border."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from emotape.errors import EngineFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.engine.scheduler import Clock


class Closable(Protocol):
    """Something that ends."""

    def close(self) -> None:
        """End, after all that was begun."""


Held = TypeVar("Held", bound=Closable)


class Residence(Generic[Held]):
    """Holds what `load` makes. Who enters keeps it from being let go until they leave. Safe to use from any thread.

    It is loaded once for all who wait, and never while the one before is still being closed.
    """

    def __init__(self, load: Callable[[], Held], clock: Clock = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._moving = threading.Lock()  # held while loading and while closing, which take long
        self._changed = threading.Condition()
        self._held: Held | None = None
        self._inside = 0
        self._last_left = 0.0
        self._waiting: deque[tuple[Callable[[Held], None], Callable[[BaseException], None]]] = deque()
        self._waking = False
        self._closed = False

    @property
    def present(self) -> Held | None:
        """What is held now. Never waits."""
        return self._held

    @property
    def is_closed(self) -> bool:
        """Whether nobody can enter any more."""
        return self._closed

    @property
    def coming(self) -> int:
        """How many entered later and are not in yet."""
        return len(self._waiting)

    def enter(self) -> Held:
        """Return what is held, loaded first if need be; to be followed by `leave`. Raises EngineFault `closed`."""
        with self._changed:
            self.check()
            self._inside += 1
        return self._loaded()

    def enter_if_present(self) -> Held | None:
        """Like `enter`, but without waiting: None, and nobody has entered, where it would have to be loaded."""
        with self._changed:
            self.check()
            if self._held is not None:
                self._inside += 1
            return self._held

    def enter_later(self, then: Callable[[Held], None], otherwise: Callable[[BaseException], None]) -> None:
        """Enter without waiting: `then` gets what is held once it is loaded, or `otherwise` why it could not be.

        Either is called in another thread, in the order of coming, and must not raise. `then` is followed by `leave`.
        """
        with self._changed:
            self.check()
            self._inside += 1
            self._waiting.append((then, otherwise))
            if not self._waking:
                self._waking = True
                threading.Thread(target=self._wake, name="emotape-load", daemon=True).start()

    def leave(self) -> None:
        """Note that one who entered needs it no longer."""
        with self._changed:
            self._inside -= 1
            self._last_left = self._clock()

    def let_go(self, idle_seconds: float) -> bool:
        """Close what is held if nobody has been inside for so long; say whether it was closed.

        Waits for nobody: `close` may be waiting for the thread that calls this.
        """
        if not self._moving.acquire(blocking=False):
            return False
        try:
            held = self._taken(idle_seconds)
            if held is not None:
                held.close()
            return held is not None
        finally:
            self._moving.release()

    def close(self) -> None:
        """Let nobody enter any more, serve those who have, and close what is held."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._waking)
        with self._moving:
            held, self._held = self._held, None
            if held is not None:
                held.close()

    def _taken(self, idle_seconds: float) -> Held | None:
        with self._changed:
            if self._inside or self._clock() - self._last_left < idle_seconds:
                return None
            held, self._held = self._held, None
            return held

    def check(self) -> None:
        """Raise EngineFault `closed` once nobody can enter any more."""
        if self.is_closed:
            raise EngineFault("closed")

    def _loaded(self) -> Held:
        """Return what is held to one who is counted already; if it cannot be loaded, they have left."""
        try:
            with self._moving:
                if self._held is None:
                    self._held = self._load()
                return self._held
        except BaseException:
            self.leave()
            raise

    def _wake(self) -> None:
        """Load for those who entered later, and let them in one by one; whoever comes meanwhile is let in, too."""
        while (next_one := self._next()) is not None:
            then, otherwise = next_one
            try:
                held = self._loaded()
            except BaseException as error:  # noqa: BLE001 - it is the answer of whoever waits
                otherwise(error)
            else:
                then(held)

    def _next(self) -> tuple[Callable[[Held], None], Callable[[BaseException], None]] | None:
        with self._changed:
            if self._waiting:
                return self._waiting.popleft()
            self._waking = False
            self._changed.notify_all()
            return None

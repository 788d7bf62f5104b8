"""Room in memory for recordings that are decoded or wait decoded, in bytes: what bounds them on a small machine.

A recording takes room before it is decoded, for all that it may become; keeps what it became; and gives that back when
nothing holds its sound any more, whatever its request was answered with. Without room nobody blocks: `NoRoom` is
raised, and whoever can wait is called when there is some. Short recordings have a quarter to themselves, so they never
wait behind long ones; long ones wait in the order of coming.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from emotape.engine.plan import ALONE, WAITING_BYTES_PER_SECOND
from emotape.errors import EmotapeError, Expired, Overloaded, TooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from emotape.audio.waveform import Waveform
    from emotape.engine.scheduler import Clock

_SHORT_SHARE: Final = 0.25  # of the room, for short recordings alone
_SHORT_BYTES: Final = (4_000_000, 64_000_000)  # one minute, 17 minutes: what is short on a small and on a large machine
_MB: Final = 1e6
_COME_AGAIN: Final = 5.0  # seconds; what holds room now, or part of it, is answered by then


class NoRoom(Overloaded):
    """`needed` bytes are more than there is room for now. A caller who cannot wait is told to come again."""

    def __init__(self, code: str = "too_little_memory", *, needed: int, retry_after: float = _COME_AGAIN) -> None:
        super().__init__(code, retry_after=retry_after, needed=needed)
        self.needed = needed


@dataclass(eq=False)
class Lane:
    """Bytes that the recordings of one kind hold, those that one usually takes, and who waits to hold some."""

    usual: float
    held: int = 0
    waiting: deque[Waiting] = field(default_factory=deque)


class Lease:
    """Room that was taken: `bytes` of samples may be decoded into it. Ended once, or kept by what was decoded."""

    def __init__(self, room: Room, lane: Lane, size: int, cost: int) -> None:
        self._room = room
        self._lane = lane
        self.bytes = size
        self._cost = cost

    def keep(self, waveforms: Sequence[Waveform], beside: int = 0) -> None:
        """Hold what these take, each until the last view of its samples is gone; give the rest back.

        `beside` are bytes that are held as long as the first: a file in memory.
        """
        sizes = [waveform.samples.nbytes for waveform in waveforms]
        self._room.note(self._lane, sum(sizes))
        for waveform, size in zip(waveforms, sizes, strict=True):
            taken, beside = size + beside, 0
            self._cost -= taken
            weakref.finalize(waveform.samples, self._room.give, self._lane, taken).atexit = False
        self.end()

    def end(self) -> None:
        """Give back what is not kept."""
        cost, self._cost = self._cost, 0
        self._room.give(self._lane, cost)


@dataclass(frozen=True, eq=False)
class Waiting:
    """One who waits: `go` gets its lease, or the error that it is answered with, in another thread; it must not raise.

    `deadline` is on the room's clock.
    """

    needed: int
    deadline: float | None
    go: Callable[[Lease | EmotapeError], None]


class Room:
    """So many megabytes. Safe to use from any thread, also while Python collects garbage.

    A thread runs as long as somebody waits. `decoders` recordings are decoded at once. Where processes decode, up to
    `beside` bytes of each are there twice.
    """

    def __init__(self, megabytes: float, decoders: int, beside: int = 0, clock: Clock = time.monotonic) -> None:
        self._bytes = self._allowed = megabytes * _MB
        self._beside = beside
        self._clock = clock
        least, most = _SHORT_BYTES
        self.short = int(min(most, max(least, _SHORT_SHARE * self._bytes / (2 * decoders))))
        self._short, self._long = Lane(self.short / 8), Lane(math.inf)
        # Reentrant: the end of a sound may be found while this is held, and then gives its room back.
        self._changed = threading.Condition(threading.RLock())
        self._attended = False

    @property
    def largest(self) -> int:
        """Bytes of samples that one recording may take, alone."""
        most = ALONE * self._bytes
        return int(max(self.short, most / 2, most - self._beside))

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._short.held + self._long.held

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._short.waiting) + len(self._long.waiting)

    def seconds(self, needed: int) -> float:
        """Return the seconds of audio that so many bytes probably are: of short recordings, what they usually are."""
        return min(self._lane(needed).usual, needed) / WAITING_BYTES_PER_SECOND

    def waiting_seconds(self, needed: int) -> float:
        """Return the seconds of audio behind which one of `needed` bytes would wait for room."""
        with self._changed:
            return sum(self.seconds(each.needed) for each in self._lane(needed).waiting)

    def note(self, lane: Lane, size: int) -> None:
        """Note what a recording became."""
        if lane is self._short:
            lane.usual += 0.1 * (size - lane.usual)

    def allow(self, megabytes: float) -> None:
        """Let so much be held from now on."""
        with self._changed:
            self._allowed = megabytes * _MB
            self._changed.notify()

    def require(self, size: int) -> None:
        """Raise TooLong for what never has room."""
        if size > self.largest:
            raise TooLong("too_long_for_memory", needed=round(size / _MB), limit=round(self.largest / _MB))

    def lease(self, size: int) -> Lease:
        """Take room for `size` bytes of samples. Raises NoRoom, and TooLong for what never has room."""
        self.require(size)
        lane = self._lane(size)
        with self._changed:
            if lane.waiting or not self._fits(lane, self._cost(size)):
                raise NoRoom(needed=size)
            return self._taken(lane, size, self._cost(size))

    def lend(self, size: int) -> Lease:
        """Take room for what is in memory already, whether there is any or not."""
        with self._changed:
            return self._taken(self._lane(size), size, size)

    def wait(self, waiting: Waiting) -> None:
        """Call `go` when there is room, when there will be none, or when it is too late."""
        with self._changed:
            self._lane(waiting.needed).waiting.append(waiting)
            self._changed.notify()
            if not self._attended:
                self._attended = True
                threading.Thread(target=self._attend, name="emotape-room", daemon=True).start()

    def forget(self, waiting: Waiting) -> None:
        """Let one who left wait no longer."""
        lane = self._lane(waiting.needed)
        with self._changed:
            if waiting in lane.waiting:
                lane.waiting.remove(waiting)
                self._changed.notify()

    def awaited(self, size: int) -> Lease:
        """Like `lease`, but the caller's thread waits. Raises NoRoom where waiting does not help."""
        answer: Future[Lease | EmotapeError] = Future()
        waiting = Waiting(size, None, answer.set_result)
        self.wait(waiting)
        try:
            found = answer.result()
        except BaseException:  # interrupted
            self.forget(waiting)
            answer.add_done_callback(lambda late: _ended(late.result()))
            raise
        if isinstance(found, EmotapeError):
            raise found
        return found

    def give(self, lane: Lane, size: int) -> None:
        """Take bytes back. Called wherever a sound ends, so it only counts and wakes."""
        with self._changed:
            lane.held -= size
            self._changed.notify()

    def _lane(self, size: int) -> Lane:
        return self._short if size <= self.short else self._long

    def _cost(self, size: int) -> int:
        return size + min(size, self._beside)

    def _taken(self, lane: Lane, size: int, cost: int) -> Lease:
        lane.held += cost
        return Lease(self, lane, size, cost)

    def _fits(self, lane: Lane, cost: int) -> bool:
        """Say whether so much more may be held.

        A short recording may always follow another; one that is larger than the long ones' share runs without others.
        """
        share = _SHORT_SHARE * self._allowed
        if lane is self._short:
            spare = not self._long.waiting and self.held + cost <= self._allowed
            return spare or not lane.held or lane.held + cost <= share
        if lane.held + cost <= self._allowed - max(share, self._short.held):
            return True
        alone = ALONE * self._allowed
        return not lane.held and cost <= alone and self.held + cost <= alone + share

    def _ever_fits(self, size: int) -> bool:
        """Say whether a long recording may run once all others are answered, if memory stays as short as it is."""
        return self._cost(size) <= ALONE * self._allowed

    def _attend(self) -> None:
        """Answer those who wait, until nobody does."""
        while True:
            with self._changed:
                if not self.waiting:
                    self._attended = False
                    return
                ready = list(self._ready())
                if not ready:
                    self._changed.wait(self._patience())
            for waiting, outcome in ready:
                waiting.go(outcome)

    def _ready(self) -> Iterator[tuple[Waiting, Lease | EmotapeError]]:
        """Take those off who have waited long enough: first who comes too late, then who has room."""
        now = self._clock()
        for lane in (self._short, self._long):
            for late in [each for each in lane.waiting if each.deadline is not None and each.deadline < now]:
                lane.waiting.remove(late)
                yield late, Expired("expired", deadline=late.deadline)
            while lane.waiting and self._fits(lane, self._cost(lane.waiting[0].needed)):
                first = lane.waiting.popleft()
                yield first, self._taken(lane, first.needed, self._cost(first.needed))
            while lane is self._long and lane.waiting and not self._ever_fits(lane.waiting[0].needed):
                first = lane.waiting.popleft()
                yield first, NoRoom(needed=first.needed)

    def _patience(self) -> float | None:
        """Return the seconds until the next deadline."""
        deadlines = (each.deadline for lane in (self._short, self._long) for each in lane.waiting)
        next_one = min((each for each in deadlines if each is not None), default=None)
        return None if next_one is None else max(0.001, next_one - self._clock())


def _ended(outcome: Lease | EmotapeError) -> None:
    if isinstance(outcome, Lease):
        outcome.end()

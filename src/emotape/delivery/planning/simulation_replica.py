"""One replica of a simulated fleet: a queue bounded in seconds of audio, and tapes laid by the engine's `choose`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from emotape.delivery.planning.fleet_rates import CARD_START, START
from emotape.engine.tape import choose

if TYPE_CHECKING:
    from collections.abc import Callable

    import simpy

    from emotape.delivery.planning.fleet_rates import Rates
    from emotape.engine.plan import Plan

_FRAMES: Final = 50  # a second
_EXTRA_TOKENS: Final = 10
_SHORTEST: Final = _EXTRA_TOKENS + 1  # tokens
_PER_TAPE: Final = 0.003  # seconds that a tape takes beside its clips: a lone clip's overhead less that of one of many


@dataclass(frozen=True)
class Served:
    """What one replica is, and what its tapes cost.

    lanes        tapes that run side by side
    tape_tokens  most tokens on one tape (a longer clip has a tape of its own)
    queue        seconds of audio that may wait
    per_tape     seconds that a tape takes, per_clip each clip on it, and pace each second of its audio
    start        seconds from nothing to the first answer, once there is a machine
    """

    lanes: int
    tape_tokens: int
    queue: float
    per_tape: float
    per_clip: float
    pace: float
    start: float = 0.0

    def cost(self, clips: int, audio: float) -> float:
        """Return the seconds of a lane that a tape takes."""
        return self.per_tape + self.per_clip * clips + self.pace * audio


@dataclass(eq=False, slots=True)
class Clip:
    """One request: seconds of audio, when it came, was put on a tape, and was answered."""

    arrived: float
    seconds: float
    started: float | None = None
    answered: float | None = None
    refused: bool = False
    moved: int = 0  # how often its replica was lost

    @property
    def tokens(self) -> int:
        """What it takes of a tape."""
        return int(self.seconds * _FRAMES) + _EXTRA_TOKENS


def served_by(plan: Plan, at: Callable[[float], Rates], seconds: float, *, on_card: bool) -> Served:
    """Return a machine as a replica, by the rates `at` which it takes clips of any length."""
    return served_at(plan, lambda length: length / at(length).throughput, seconds, on_card=on_card)


def served_at(plan: Plan, work: Callable[[float], float], seconds: float, *, on_card: bool) -> Served:
    """Return a machine as a replica: costs of a clip by its `work` at half of `seconds` and at twice as many."""
    lanes = 1 if on_card else plan.replicas
    short, long = (lanes * work(length) for length in (seconds / 2, seconds * 2))
    pace = max(0.0, (long - short) / (1.5 * seconds))
    per_clip = max(0.0, short - pace * seconds / 2)
    start = CARD_START if on_card else START
    return Served(lanes, plan.tape_tokens, plan.queue_seconds, _PER_TAPE, per_clip, pace, start)


class Replica:
    """What waits on it, in seconds of audio too, what runs, and its lanes."""

    def __init__(self, env: simpy.Environment, served: Served) -> None:
        self.env, self.served = env, served
        self.waiting: deque[Clip] = deque()
        self.seconds = 0.0  # of audio, waiting
        self.running = 0.0  # of audio, on tapes
        self.ran = 0.0  # seconds of its lanes since the last look
        self.looks: deque[tuple[float, float]] = deque()  # seconds of audio waiting, share of the time at work
        self.since = env.now
        self.leaving = False
        self.lanes: list[simpy.Process] = []
        self.asleep: list[simpy.Event] = []

    @property
    def burden(self) -> float:
        """Seconds of audio that it has yet to answer."""
        return self.seconds + self.running

    def put(self, clip: Clip) -> None:
        """Let a clip wait, and wake a lane for it."""
        self.waiting.append(clip)
        self.seconds += clip.seconds
        if self.asleep:
            self.asleep.pop().succeed()

    def is_full_for(self, clip: Clip) -> bool:
        """Whether a new clip is refused: something waits, and it would be too much."""
        return bool(self.waiting) and self.seconds + clip.seconds > self.served.queue

    def sleep(self) -> simpy.Event:
        """Return what a lane without work waits for."""
        event = self.env.event()
        self.asleep.append(event)
        return event

    def take(self) -> list[Clip]:
        """Take the clips of the next tape, as the engine does; those passed over keep their places."""
        callers = list(islice(self.waiting, 1 + self.served.tape_tokens // _SHORTEST))
        counts = choose([(clip.tokens,) for clip in callers], self.served.tape_tokens)
        taken = [clip for clip, count in zip(callers, counts, strict=True) if count]
        passed_over = [clip for clip, count in zip(callers, counts, strict=True) if not count]
        for _ in callers:
            self.waiting.popleft()
        self.waiting.extendleft(reversed(passed_over))
        self.seconds -= sum(clip.seconds for clip in taken)
        return taken

    def leave(self) -> None:
        """Answer what is there, and take no more."""
        self.leaving = True
        while self.asleep:
            self.asleep.pop().succeed()

    def look(self, passed: float, kept: int) -> None:
        """Note what waits, and the share of the time since the last look in which tapes ran; forget older looks."""
        self.looks.append((self.seconds, min(1.0, self.ran / passed)))
        self.ran = 0.0
        while len(self.looks) > kept:
            self.looks.popleft()

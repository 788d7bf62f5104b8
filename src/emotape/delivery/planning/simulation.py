"""A fleet of replicas and its autoscaler, event by event: what waits, what is refused, when replicas come and go.

A router gives each clip to the better of two replicas, picked at random. The autoscaler looks every few seconds. What a
lost replica had is given to others; nothing that was admitted is dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emotape.delivery.cluster.scaling import Seen
from emotape.delivery.planning.simulation_policy import Policy, Scale, decide, due
from emotape.delivery.planning.simulation_replica import Clip, Replica, Served
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import simpy

    from emotape.delivery.planning.simulation_traffic import Traffic

_DRAWN: Final = 4_096


@dataclass(frozen=True)
class Moment:
    """The fleet at one look: seconds of audio waiting, replicas ready and starting, how many are wanted."""

    when: float
    waiting: float
    ready: int
    starting: int
    wanted: int


@dataclass
class Log:
    """What happened: every clip, every look, the seconds that replicas were paid for, and how they came and went."""

    clips: list[Clip] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    replica_seconds: float = 0.0
    started: int = 0
    drained: int = 0
    lost: int = 0


class _Fleet:
    """The state of one simulation; its generators are SimPy's processes."""

    def __init__(self, env: simpy.Environment, served: Served, policy: Policy, seed: int) -> None:
        self.env, self.served, self.policy = env, served, policy
        self.log = Log()
        self.ready: list[Replica] = []
        self.starting: list[Replica] = []
        self.leaving: list[Replica] = []
        self.nobody: deque[Clip] = deque()  # came while no replica was ready
        self.unplaced = 0.0  # seconds of audio of these
        self.draws = _draws(seed)
        self.scale = Scale(policy.least)

    def run(self, traffic: Traffic, initial: int) -> Log:
        self.scale = Scale(initial)
        for _ in range(initial):
            self._open(Replica(self.env, self.served))
        self.env.process(self._source(traffic))
        self.env.process(self._steer())
        if traffic.lost is not None:
            self.env.process(self._lose(traffic.lost))
        self.env.run(until=traffic.span)
        for replica in (*self.ready, *self.starting, *self.leaving):
            self.log.replica_seconds += self.env.now - replica.since
        return self.log

    def _source(self, traffic: Traffic) -> Generator[simpy.Event, Any, None]:
        for when, seconds in zip(traffic.arrivals.tolist(), traffic.lengths.tolist(), strict=True):
            yield self.env.timeout(max(0.0, when - self.env.now))
            clip = Clip(when, seconds)
            self.log.clips.append(clip)
            self._send(clip, admitted=False)

    def _send(self, clip: Clip, *, admitted: bool) -> None:
        replica = self._better()
        if replica is None:
            clip.refused = not admitted and 0 < self.unplaced > self.served.queue - clip.seconds
            if not clip.refused:
                self.nobody.append(clip)
                self.unplaced += clip.seconds
        elif not admitted and replica.is_full_for(clip):
            clip.refused = True
        else:
            replica.put(clip)

    def _better(self) -> Replica | None:
        """Return the less burdened of two replicas that are picked at random."""
        if len(self.ready) < 2:
            return self.ready[0] if self.ready else None
        one = int(next(self.draws) * len(self.ready))
        other = int(next(self.draws) * (len(self.ready) - 1))
        pair = self.ready[one], self.ready[other + (other >= one)]
        return min(pair, key=lambda replica: replica.burden)

    def _lane(self, replica: Replica) -> Generator[simpy.Event, Any, None]:
        import simpy

        tape: list[Clip] = []
        try:
            while replica.waiting or not replica.leaving:
                if not replica.waiting:
                    yield replica.sleep()
                    continue
                tape = self._begin(replica)
                taken = self.served.cost(len(tape), sum(clip.seconds for clip in tape))
                yield self.env.timeout(taken)
                replica.ran += taken
                self._end(replica, tape)
                tape = []
        except simpy.Interrupt:
            self._again(tape)

    def _begin(self, replica: Replica) -> list[Clip]:
        tape = replica.take()
        for clip in tape:
            clip.started = self.env.now
        replica.running += sum(clip.seconds for clip in tape)
        return tape

    def _end(self, replica: Replica, tape: Sequence[Clip]) -> None:
        replica.running -= sum(clip.seconds for clip in tape)
        for clip in tape:
            clip.answered = self.env.now

    def _steer(self) -> Generator[simpy.Event, Any, None]:
        following = self.policy.look
        while True:
            yield self.env.timeout(following - self.env.now)
            following, seen = self.env.now + self.policy.look, self._look()
            self._decide(seen)
            if (when := due(self.scale, self.policy)) < following:
                yield self.env.timeout(max(0.0, when - self.env.now))
                self._decide(seen)  # nothing newer is known until the next look

    def _decide(self, seen: Seen) -> None:
        self.scale = decide(seen, self.scale, self.env.now, self.policy)
        counts = len(self.ready), len(self.starting), self.scale.target
        self.log.moments.append(Moment(self.env.now, seen.queued + self.unplaced, *counts))
        missing = self.scale.target - len(self.ready) - len(self.starting)
        for _ in range(missing):
            self.env.process(self._start())
        for _ in range(-missing):
            self._drain()

    def _look(self) -> Seen:
        """See what the cluster's engines tell of themselves; nothing told counts as busy."""
        kept = max(1, round(self.policy.window / self.policy.look))
        for replica in self.ready:
            replica.look(self.policy.look, kept)
        looks = [look for replica in self.ready for look in replica.looks]
        return Seen(
            queued=sum(replica.seconds for replica in self.ready),
            peak=sum(max(waited for waited, _ in replica.looks) for replica in self.ready),
            busy=sum(busy for _, busy in looks) / len(looks) if looks else 1.0,
        )

    def _start(self) -> Generator[simpy.Event, Any, None]:
        replica = Replica(self.env, self.served)
        self.starting.append(replica)
        self.log.started += 1
        yield self.env.timeout(self.policy.boot + self.served.start)
        if replica in self.starting:
            self.starting.remove(replica)
            self._open(replica)

    def _open(self, replica: Replica) -> None:
        self.ready.append(replica)
        replica.lanes = [self.env.process(self._lane(replica)) for _ in range(self.served.lanes)]
        waiting, self.nobody, self.unplaced = self.nobody, deque(), 0.0
        for clip in waiting:
            self._send(clip, admitted=True)

    def _drain(self) -> None:
        """Let one go: one that is not there yet, or else the least burdened, when it has answered what it has."""
        self.log.drained += 1
        if self.starting:
            self._gone(self.starting.pop())
            return
        replica = min(self.ready, key=lambda each: each.burden)
        self.ready.remove(replica)
        self.leaving.append(replica)
        replica.leave()
        self.env.process(self._wait_for(replica))

    def _wait_for(self, replica: Replica) -> Generator[simpy.Event, Any, None]:
        yield self.env.all_of(replica.lanes)
        if replica in self.leaving:
            self.leaving.remove(replica)
            self._gone(replica)

    def _gone(self, replica: Replica) -> None:
        self.log.replica_seconds += self.env.now - replica.since

    def _lose(self, when: float) -> Generator[simpy.Event, Any, None]:
        """Take a machine away, with all that its replicas had; others answer that."""
        yield self.env.timeout(when)
        for replica in [self.ready.pop(0) for _ in range(min(self.policy.node, len(self.ready)))]:
            self.log.lost += 1
            self._gone(replica)
            for lane in replica.lanes:
                if lane.is_alive:
                    lane.interrupt()
            waiting, replica.waiting, replica.seconds = list(replica.waiting), deque(), 0.0
            self._again(waiting)
            self.env.process(self._start())  # the cluster keeps as many as there shall be

    def _again(self, clips: Sequence[Clip]) -> None:
        for clip in clips:
            clip.started, clip.moved = None, clip.moved + 1
            self._send(clip, admitted=True)


def simulate(traffic: Traffic, served: Served, policy: Policy, *, initial: int = 1, seed: int = 0) -> Log:
    """Play `traffic` on a fleet that begins with `initial` replicas; the same seed gives the same log.

    Raises BadRequest `fleet_simpy_missing` where SimPy is not installed.
    """
    try:
        import simpy
    except ImportError as error:
        raise BadRequest("fleet_simpy_missing") from error
    return _Fleet(simpy.Environment(), served, policy, seed).run(traffic, initial)


def _draws(seed: int) -> Iterator[float]:
    random = np.random.default_rng((seed, 1))
    while True:
        yield from random.random(_DRAWN).tolist()

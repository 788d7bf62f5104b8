"""What a simulation came to: how long clips waited, how many were refused, and what the replicas did for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.delivery.planning.simulation import Log
    from emotape.delivery.planning.simulation_policy import Policy
    from emotape.delivery.planning.simulation_replica import Served
    from emotape.delivery.planning.simulation_traffic import Traffic

_MARKS = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Times:
    """Seconds: mean, median, the time within which 95 and 99 of 100 are, and the longest. All 0 for none."""

    mean: float
    p50: float
    p95: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Outcome:
    """Counts of clips (arrived = answered + refused + waiting), times in seconds, and the replicas.

    waiting        not answered when the time was over
    moved          admitted by a replica that was lost, and answered by another or still waiting
    queued         from arriving to being put on a tape, of all that were
    answered_after from arriving to the answer
    busy           share of the replicas' paid time in which tapes ran
    """

    arrived: int
    answered: int
    refused: int
    waiting: int
    moved: int
    audio_hours: float
    span_hours: float
    faster: float
    queued: Times
    answered_after: Times
    replica_hours: float
    most_replicas: int
    scale_ups: int
    scale_downs: int
    lost: int
    busy: float
    longest_queue: float

    @property
    def refused_share(self) -> float:
        """Refused of all that came."""
        return self.refused / self.arrived if self.arrived else 0.0


def times(seconds: Sequence[float]) -> Times:
    """Sum up a list of seconds."""
    if not seconds:
        return Times(0.0, 0.0, 0.0, 0.0, 0.0)
    values = np.asarray(seconds)
    p50, p95, p99 = (float(mark) for mark in np.quantile(values, _MARKS))
    return Times(float(values.mean()), p50, p95, p99, float(values.max()))


def sum_up(log: Log, traffic: Traffic, served: Served) -> Outcome:
    """Return what a log came to."""
    answered = [clip for clip in log.clips if clip.answered is not None]
    work = sum(served.cost(1, clip.seconds) for clip in answered) / served.lanes
    return Outcome(
        arrived=len(log.clips),
        answered=len(answered),
        refused=sum(clip.refused for clip in log.clips),
        waiting=sum(clip.answered is None and not clip.refused for clip in log.clips),
        moved=sum(clip.moved > 0 for clip in log.clips),
        audio_hours=traffic.audio / 3600,
        span_hours=traffic.faster * traffic.span / 3600,
        faster=traffic.faster,
        queued=times([clip.started - clip.arrived for clip in log.clips if clip.started is not None]),
        answered_after=times([clip.answered - clip.arrived for clip in answered if clip.answered is not None]),
        replica_hours=traffic.faster * log.replica_seconds / 3600,
        most_replicas=max((moment.ready for moment in log.moments), default=0),
        scale_ups=log.started,
        scale_downs=log.drained,
        lost=log.lost,
        busy=min(1.0, work / log.replica_seconds) if log.replica_seconds else 0.0,
        longest_queue=max((moment.waiting for moment in log.moments), default=0.0),
    )


def first_replicas(rate: float, seconds: float, served: Served, policy: Policy) -> int:
    """Return the replicas that a steady `rate` of clips needs: how many a simulation begins with."""
    work = rate * served.cost(1, seconds) / served.lanes
    return max(policy.least, min(policy.most, int(np.ceil(work / (policy.busy or 1.0)))))

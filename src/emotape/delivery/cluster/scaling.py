"""How many engines there should be: a pure function of the audio that waits, and Ray Serve's way of asking for it.

Ray copies this module as a whole into its controller, so it needs nothing but the standard library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Aim:
    """What to aim for.

    queued_seconds  seconds of audio that may wait for each engine before there are more
    busy            share of the time that engines may run when there is one fewer
    """

    queued_seconds: float = 30.0
    busy: float = 0.7


@dataclass(frozen=True)
class Seen:
    """What was seen of the engines: audio that waits for all of them now, the most lately, and how busy each is.

    `queued` and `peak` are in seconds of audio; `busy` is the mean share of the time that an engine ran, 0 to 1.
    """

    queued: float
    peak: float
    busy: float


def wanted_engines(seen: Seen, engines: int, aim: Aim) -> int:
    """Return how many engines there should be, now that `engines` are: as many as it takes at once, or one fewer.

    Bounds and delays are Ray Serve's: min_replicas, max_replicas, upscale_delay_s and downscale_delay_s.
    """
    if seen.queued > aim.queued_seconds * engines:
        return math.ceil(seen.queued / aim.queued_seconds)
    fewer = engines - 1
    has_room = seen.peak <= aim.queued_seconds * fewer / 2 and seen.busy * engines <= aim.busy * fewer
    return fewer if fewer >= 1 and has_room else engines


class QueuedSeconds:
    """Ray Serve's autoscaling policy: it is asked again and again, with what `record_autoscaling_stats` told."""

    def __init__(self, queued_seconds: float = 30.0, busy: float = 0.7) -> None:
        self._aim = Aim(queued_seconds, busy)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Return how many engines there should be, and what to remember: nothing."""
        seen = seen_by(context.raw_metrics or {})
        return wanted_engines(seen, max(1, context.target_num_replicas), self._aim), {}


def seen_by(metrics: Mapping[str, Mapping[Any, Sequence[Any]]]) -> Seen:
    """Return what the series of every engine say; each point has a `value`, the last is the latest."""
    queued = [[point.value for point in series] for series in metrics.get("queued_seconds", {}).values()]
    busy = [point.value for series in metrics.get("busy", {}).values() for point in series]
    return Seen(
        queued=sum(series[-1] for series in queued if series),
        peak=sum(max(series) for series in queued if series),
        busy=_mean(busy),
    )


def _mean(values: Sequence[float]) -> float:
    """Return the mean; engines that have not told anything yet count as busy."""
    return sum(values) / len(values) if values else 1.0

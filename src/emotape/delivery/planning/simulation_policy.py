"""The autoscaler of a simulated fleet: the cluster's own decision, with Ray Serve's bounds and delays around it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from emotape.delivery.cluster.scaling import Aim, Seen, wanted_engines
from emotape.errors import BadRequest


@dataclass(frozen=True)
class Policy:
    """When replicas come and go.

    least, most  how many there are at any time
    target       seconds of audio that may wait for each replica before there are more
    busy         share of the time that replicas may be at work if there is one fewer
    look         seconds from one look at the replicas to the next, and window: how long looks are remembered
    up, down     seconds for which more (fewer) must have been wanted before it happens
    boot         seconds until a machine for a new replica is there
    start        seconds that a replica's process takes to its first answer; None: as the machine's kind does
    node         replicas on one machine, lost together
    """

    least: int = 1
    most: int = 16
    target: float = 30.0
    busy: float = 0.7
    look: float = 10.0
    window: float = 60.0
    up: float = 3.0
    down: float = 300.0
    boot: float = 60.0
    start: float | None = None
    node: int = 1


@dataclass(frozen=True)
class Scale:
    """How many replicas there shall be, and since when more (`direction` 1) or fewer (-1) are wanted."""

    target: int
    direction: int = 0
    since: float = 0.0


_ROUNDING: Final = 1e-6  # seconds
_WHOLE: Final = ("least", "most", "node")
_NAMES: Final = {"min": "least", "max": "most"}
_MAY_BE_ZERO: Final = ("up", "down", "boot", "start")


def decide(seen: Seen, scale: Scale, now: float, policy: Policy) -> Scale:
    """Return how many there shall be after a look at `now`: what is wanted long enough, within bounds."""
    wanted = wanted_engines(seen, max(1, scale.target), Aim(policy.target, policy.busy))
    wanted = max(policy.least, min(policy.most, wanted))
    direction = (wanted > scale.target) - (wanted < scale.target)
    since = scale.since if direction == scale.direction else now
    delay = policy.up if direction > 0 else policy.down
    if direction and now - since >= delay - _ROUNDING:
        return Scale(wanted)
    return Scale(scale.target, direction, since)


def due(scale: Scale, policy: Policy) -> float:
    """Return when what is wanted now has been wanted long enough; infinity if nothing else is wanted."""
    if not scale.direction:
        return math.inf
    return scale.since + (policy.up if scale.direction > 0 else policy.down)


def read_policy(text: str) -> Policy:
    """Read "min=1,max=8,target=30"; what it does not name stays as it is. Raises BadRequest `fleet_policy`."""
    known = [field.name for field in fields(Policy)]
    values: dict[str, float | int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        name = _NAMES.get(name.strip(), name.strip())
        if name not in known:
            raise BadRequest("fleet_policy", part=part, known=", ".join(shown(each) for each in known))
        values[name] = _number(name, value, part)
    policy = Policy(**values)  # type: ignore[arg-type]
    if policy.least > policy.most or policy.busy > 1:
        raise BadRequest("fleet_policy", part=text, known=", ".join(shown(each) for each in known))
    return policy


def _number(name: str, value: str, part: str) -> float | int:
    try:
        number = int(value) if name in _WHOLE else float(value)
    except ValueError as error:
        raise BadRequest("fleet_policy", part=part, known=shown(name)) from error
    if number < 0 or (number == 0 and name not in _MAY_BE_ZERO) or not math.isfinite(number):
        raise BadRequest("fleet_policy", part=part, known=shown(name))
    return number


def shown(name: str) -> str:
    """Return what a user calls one of a policy's values."""
    return next((shown for shown, field in _NAMES.items() if field == name), name)

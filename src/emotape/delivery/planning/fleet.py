"""How many machines take H hours of audio within T: pure arithmetic over offers and their rates.

A machine is as fast as its slowest part: the network's device, the cores that decode, the link that brings recordings.
The fleet is as fast as its machines together, and no faster than the place that the recordings come from.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from emotape.delivery.planning.fleet_rates import CARD_START, START, Audio
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emotape.delivery.planning.fleet_machines import Offer
    from emotape.delivery.planning.fleet_rates import Rates

USED: Final = 0.9
"""The share of its time that a machine works at its rate; the rest goes to stragglers, retries and writing results."""
_UNITS: Final = {"s": 1 / 3600, "m": 1 / 60, "min": 1 / 60, "h": 1.0, "": 1.0, "d": 24.0, "w": 168.0}
_MOST: Final = 1_000_000  # machines


@dataclass(frozen=True)
class Work:
    """What is to be done: `hours` of `audio` within so many hours.

    peak   the fleet is made for so many times the load, for more to come or for machines that fail
    store  Gbit/s that the place gives which recordings come from; None: as many as are asked for
    used   the share of its time that a machine works
    """

    hours: float
    within: float
    audio: Audio = field(default_factory=Audio)
    peak: float = 1.0
    store: float | None = None
    used: float = USED

    @property
    def seconds(self) -> float:
        """Seconds of audio that the fleet is made for."""
        return 3600 * self.hours * self.peak

    @property
    def given(self) -> float:
        """Seconds of audio a second that the store gives."""
        return math.inf if self.store is None else 1e6 * self.store / self.audio.kilobits


@dataclass(frozen=True)
class OneMore:
    """What one machine more changes: hours until done, and the price of the whole (negative: it saves)."""

    hours: float
    saved: float
    cost: float


@dataclass(frozen=True)
class Relief:
    """What comes if the bottleneck is no limit any more: the next one, a machine's rate, and how many then do it."""

    bottleneck: str
    throughput: float
    count: int | None


@dataclass(frozen=True)
class Sized:
    """A fleet of one kind of machine.

    count        machines; None: no number of them does it in time
    hours        until they are done, with all the work for which the fleet is made
    cost         of these hours, all machines
    bottleneck   "device", "decoding", "network", or "store", which all machines share
    cores        of each machine that decode (or as good as), at its rate
    gigabits     a second that each machine receives, at its rate
    enough       whether weights, queue and tapes fit the machine's memory, and the card's
    """

    offer: Offer
    rates: Rates
    count: int | None
    hours: float
    cost: float
    bottleneck: str
    cores: float
    gigabits: float
    enough: bool
    one_more: OneMore | None
    relief: Relief | None

    @property
    def machine_hours(self) -> float:
        """Hours of all machines together."""
        return (self.count or 0) * self.hours


def size(offer: Offer, rates: Rates, work: Work) -> Sized:
    """Say how many machines of one kind do the work in time, what limits them, and what one more would bring."""
    count = _count(rates.throughput, offer, work)
    stored = count is None or work.given < work.used * count * rates.throughput
    bottleneck = "store" if stored and work.given < math.inf else rates.bottleneck
    hours = _hours(count, rates.throughput, offer, work) if count else math.inf
    per_machine = min(rates.throughput, work.given / count) if count else rates.throughput
    return Sized(
        offer=offer,
        rates=rates,
        count=count,
        hours=hours,
        cost=count * hours * offer.price if count else math.inf,
        bottleneck=bottleneck,
        cores=per_machine / work.audio.decoded,
        gigabits=per_machine * work.audio.kilobits / 1e6,
        enough=fits(offer, rates),
        one_more=_one_more(count, hours, rates.throughput, offer, work) if count else None,
        relief=_relief(offer, rates, work) if bottleneck != "store" else None,
    )


def fits(offer: Offer, rates: Rates) -> bool:
    """Return whether what is expected of memory is there, on the machine and on its card."""
    card = min((each.total or math.inf for each in offer.machine.accelerators), default=math.inf)
    return rates.expected.memory <= (offer.machine.memory or math.inf) and rates.expected.card <= card


def cheapest(fleets: Iterable[Sized]) -> Sized | None:
    """Return the fleet that costs least of those that are in time and have the memory; None: there is none."""
    able = [fleet for fleet in fleets if fleet.count and fleet.enough]
    return min(able, key=lambda fleet: (fleet.cost, fleet.count), default=None)


def hours_of(text: str) -> float:
    """Return the hours that "36h", "2d", "90m", "1w" or a plain number of hours mean.

    Raises BadRequest `fleet_duration`.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text.casefold())
    unit = _UNITS.get(found[2]) if found else None
    hours = float(found[1]) * unit if found and unit else 0.0
    if not 0 < hours < math.inf:
        raise BadRequest("fleet_duration", value=text)
    return hours


def start_hours(offer: Offer) -> float:
    """Return the hours that a machine's process takes to answer."""
    return (CARD_START if offer.machine.accelerators else START) / 3600


def _count(throughput: float, offer: Offer, work: Work) -> int | None:
    """Return how many machines are in time; None when none are, be it for their start or for the store."""
    left = 3600 * (work.within - start_hours(offer))
    if left <= 0 or work.given * left < work.seconds:
        return None
    count = max(1, math.ceil(work.seconds / (left * work.used * throughput) - 1e-9))
    return count if count <= _MOST else None


def _hours(count: int, throughput: float, offer: Offer, work: Work) -> float:
    together = min(work.used * count * throughput, work.given)
    return start_hours(offer) + work.seconds / together / 3600


def _one_more(count: int, hours: float, throughput: float, offer: Offer, work: Work) -> OneMore:
    then = _hours(count + 1, throughput, offer, work)
    return OneMore(then, hours - then, offer.price * ((count + 1) * then - count * hours))


def _relief(offer: Offer, rates: Rates, work: Work) -> Relief:
    others = {name: rate for name, rate in rates.parts().items() if name != rates.bottleneck}
    if rates.shared and rates.bottleneck == "device":
        others["decoding"] = rates.decoding
    following = min(others, key=others.__getitem__)
    return Relief(following, others[following], _count(others[following], offer, work))

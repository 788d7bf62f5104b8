"""The machines there are to choose from, this one among them, and what a fleet of each would do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emotape.delivery.planning.fleet import Sized, cheapest, size
from emotape.delivery.planning.fleet_machines import FLEET, HERE, Offer, chosen, offers
from emotape.delivery.planning.fleet_network import Network, network_of
from emotape.delivery.planning.fleet_rates import Measured, Rates, planned_on, rates, read_measured
from emotape.delivery.planning.simulation import Log, simulate
from emotape.delivery.planning.simulation_outcome import Outcome, first_replicas, sum_up
from emotape.delivery.planning.simulation_policy import Policy, read_policy
from emotape.delivery.planning.simulation_replica import Served, served_by
from emotape.delivery.planning.simulation_traffic import Traffic, TrafficName, recorded, traffic
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from emotape.delivery.planning.cost import Rate
    from emotape.delivery.planning.fleet_asked import Asked
    from emotape.delivery.planning.fleet_rates import Audio
    from emotape.engine.choices import Planned
    from emotape.engine.plan import Machine
    from emotape.settings import Settings

_CROWD = 5.0


@dataclass(frozen=True)
class Choosable:
    """What a fleet may be made of: the network, the offers, and what is known of their rates."""

    network: Network
    offers: tuple[Offer, ...]
    measured: tuple[Measured, ...]
    core: Rate | None

    def planned(self, offer: Offer) -> Planned:
        """Return the plan of an offer's machine."""
        return planned_on(offer.machine, self.network)

    def rates(self, offer: Offer, audio: Audio) -> Rates:
        """Return what one machine of an offer takes."""
        core = self.core if offer.name == HERE else None
        return rates(offer.name, self.planned(offer), self.network, audio, offer.network, self.measured, core)


@dataclass(frozen=True)
class Fleets:
    """Every fleet that would do the work, and the cheapest."""

    asked: Asked
    network: Network
    sized: tuple[Sized, ...]
    cheapest: Sized | None


@dataclass(frozen=True, eq=False)
class Played:
    """A simulation with everything that it was made from. `first` replicas were there at its beginning."""

    asked: Asked
    network: Network
    offer: Offer
    rates: Rates
    served: Served
    policy: Policy
    first: int
    traffic: Traffic
    log: Log
    outcome: Outcome


def look_at_fleets(asked: Asked, settings: Settings) -> Fleets:
    """Size a fleet of each machine that was asked for. Raises BadRequest and ModelFault."""
    work, found = asked.work, _choosable(asked, settings, asked.devices)
    sized = tuple(size(offer, found.rates(offer, work.audio), work) for offer in found.offers)
    return Fleets(asked, found.network, sized, cheapest(sized))


def play(asked: Asked, settings: Settings) -> Played:
    """Simulate the autoscaler on one kind of machine; without a name it is this one. Raises BadRequest, ModelFault."""
    policy = read_policy(asked.policy or "")
    found = _choosable(asked, settings, asked.devices or (HERE,))
    if len(found.offers) > 1:
        raise BadRequest("fleet_which_machine", names="; ".join(offer.name for offer in found.offers))
    (offer,) = found.offers
    audio, rate = asked.audio, asked.rate or 0.0
    served = served_by(
        found.planned(offer).plan,
        lambda seconds: found.rates(offer, replace(audio, seconds=seconds)),
        audio.seconds,
        on_card=bool(offer.machine.accelerators),
    )
    served = served if policy.start is None else replace(served, start=policy.start)
    coming = arrivals(asked, rate, audio.seconds)
    first = first_replicas(len(coming.arrivals) / coming.span, audio.seconds, served, policy)
    log = simulate(coming, served, policy, initial=first, seed=asked.seed or 0)
    played = Played(
        asked=asked,
        network=found.network,
        offer=offer,
        rates=found.rates(offer, audio),
        served=served,
        policy=policy,
        first=first,
        traffic=coming,
        log=log,
        outcome=sum_up(log, coming, served),
    )
    _draw(played)
    return played


def arrivals(asked: Asked, rate: float, seconds: float) -> Traffic:
    """Return the traffic that was asked for. Raises BadRequest `fleet_traffic_unreadable` and `fleet_too_much`."""
    name, seed = asked.traffic or "day", asked.seed or 0
    named: dict[str, TrafficName] = {"day": "day", "flash": "flash", "loss": "loss"}
    if name not in named:
        return recorded(Path(name), seconds, seed=seed)
    return traffic(named[name], rate, seconds, peak=asked.peak or _CROWD, seed=seed)


def _draw(played: Played) -> None:
    if played.asked.plot is not None:
        from emotape.delivery.planning.simulation_plot import plot

        title = f"{played.asked.traffic or 'day'}: {played.network.name} on {played.offer.name}"
        plot(played.log, played.traffic, title, played.asked.plot)


def _choosable(asked: Asked, settings: Settings, names: tuple[str, ...]) -> Choosable:
    network = network_of(settings.model, settings.models_folder)
    files = [read_measured(path) for path in asked.measured or ()]
    machines = {found.machine: machine for found, machine in files}
    wants_here = not names or any(name.casefold() == HERE for name in names) or bool({"auto", "cpu", "cuda"} & {*names})
    here = {HERE: _here()} if wants_here else {}
    picked = chosen({**here, **machines, **FLEET}, names)
    core = _core(picked[HERE], network) if asked.measure and HERE in picked else None
    offered = offers(picked, asked.prices, asked.link)
    return Choosable(network, offered, tuple(found for found, _ in files), core)


def _here() -> Machine:
    """Look at this machine, as `plan` does."""
    from emotape.engine.machine import accelerators, look_at_machine, multiplies_bfloat16

    return look_at_machine(bfloat16=multiplies_bfloat16(), accelerators=accelerators("auto"))


def _core(machine: Machine, network: Network) -> Rate | None:
    planned = planned_on(machine, network)
    if planned.plan.devices != ("cpu",):
        return None
    from emotape.delivery.planning.measure import measured_rate

    return measured_rate(network.dims, planned.plan.arithmetic)

"""A fleet that was sized, in words and for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from emotape.delivery.planning.fleet_machines import assumed_price
from emotape.delivery.planning.fleet_rates import CARD_ARITHMETIC, CARD_BANDWIDTH, CARD_START, START
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.planning.fleet import Sized
    from emotape.delivery.planning.fleet_outlook import Fleets
    from emotape.delivery.planning.fleet_rates import Rates
    from emotape.wording import Language

_GB = 1e9


def lines(fleets: Fleets, language: Language) -> Iterator[str]:
    """Yield what a person reads."""
    work = fleets.asked.work
    facts: dict[str, Any] = {"hours": work.hours, "within": work.within, "model": fleets.network.name}
    facts |= {"seconds": work.audio.seconds, "kilobits": work.audio.kilobits, "peak": work.peak}
    yield interface_text("fleet_work", language, **facts)
    if not fleets.network.present:
        yield interface_text("fleet_absent", language, model=fleets.network.name)
    yield ""
    yield interface_text("fleet_head", language)
    for fleet in fleets.sized:
        yield _row(fleet, work.hours, language)
    if any(fleet.count is None for fleet in fleets.sized):
        yield interface_text("fleet_never", language)
    yield ""
    yield from _verdict(fleets.cheapest, language)
    yield ""
    yield _assumed(fleets, language)
    yield from sources({fleet.offer.name: fleet.rates for fleet in fleets.sized}, language)


def _row(fleet: Sized, hours: float, language: Language) -> str:
    mark = "m" if fleet.rates.measured else "e"
    limit = interface_text(f"fleet_limit_{fleet.bottleneck if fleet.enough else 'memory'}", language)
    head = f"{fleet.count or '–':>7} × {fleet.offer.name:<34} {fleet.rates.throughput:>7,.0f} {mark}  {limit:<13}"
    if fleet.count is None:
        return head.rstrip()
    return f"{head} {fleet.hours:>8.1f} h {fleet.cost:>11,.2f} {1000 * fleet.cost / hours:>9.2f}"


def _verdict(best: Sized | None, language: Language) -> Iterator[str]:
    """Yield what limits the cheapest fleet, and what one more machine buys."""
    if best is None or best.one_more is None:
        yield interface_text("fleet_none", language)
        return
    offer, count = best.offer, best.count
    hours = {"hours": best.hours, "machine_hours": best.machine_hours, "cost": best.cost}
    yield interface_text("fleet_cheapest", language, count=count, name=offer.name, **hours)
    yield _bottleneck(best, language)
    card = best.rates.expected.card / _GB
    yield interface_text(
        "fleet_each",
        language,
        cores=best.cores,
        all=offer.machine.running,
        gigabits=best.gigabits,
        link=offer.network,
        memory=best.rates.expected.memory / _GB,
        card=interface_text("fleet_card_memory", language, card=card) if card else "",
    )
    yield interface_text("fleet_one_more", language, saved=best.one_more.saved, cost=best.one_more.cost)


def _bottleneck(best: Sized, language: Language) -> str:
    relief = best.relief
    if relief is None:
        return interface_text("fleet_bottleneck_store", language)
    names = {
        "bottleneck": interface_text(f"fleet_limit_{best.bottleneck}", language),
        "following": interface_text(f"fleet_limit_{relief.bottleneck}", language),
    }
    facts: dict[str, Any] = {"throughput": relief.throughput, "count": relief.count or "–"}
    return interface_text("fleet_bottleneck", language, **names, **facts)


def _assumed(fleets: Fleets, language: Language) -> str:
    work, found = fleets.asked.work, [fleet.offer for fleet in fleets.sized]
    priced = {offer.priced for offer in found}
    example = f"{found[-1].name}: {assumed_price(found[-1].machine):.2f}"
    code = "mixed" if len(priced) > 1 else "given" if True in priced else "assumed"
    prices = interface_text(f"fleet_prices_{code}", language, example=example)
    rates: dict[str, Any] = {"used": 100 * work.used, "decoded": work.audio.decoded}
    starts: dict[str, Any] = {"start": START, "card_start": CARD_START}
    return interface_text("fleet_assumed", language, prices=prices, **rates, **starts)


def sources(rates: dict[str, Rates], language: Language) -> Iterator[str]:
    """Yield where rates come from: each that was measured, and each way of estimating once."""
    estimated = set()
    for name, each in rates.items():
        if each.measured or each.source == "products":
            code = "measured" if each.measured else "products"
            yield interface_text(f"fleet_source_{code}", language, name=name, source=each.source)
        else:
            estimated.add("cores" if each.source == "cores" else "card")
    shares = {"arithmetic": 100 * CARD_ARITHMETIC, "bandwidth": 100 * CARD_BANDWIDTH}
    for way in sorted(estimated):
        facts: dict[str, Any] = shares if way == "card" else {}
        yield interface_text(f"fleet_source_{way}", language, **facts)


def facts(fleets: Fleets) -> dict[str, Any]:
    """Return what a program reads."""
    best = fleets.cheapest
    return {
        "model": {"name": fleets.network.name, "parameters": fleets.network.dims.parameters},
        "work": asdict(fleets.asked.work),
        "assumed": {
            "start_seconds": START,
            "card_start_seconds": CARD_START,
            "card_arithmetic": CARD_ARITHMETIC,
            "card_bandwidth": CARD_BANDWIDTH,
        },
        "machines": [_facts_of(fleet) for fleet in fleets.sized],
        "cheapest": best.offer.name if best else None,
    }


def _facts_of(fleet: Sized) -> dict[str, Any]:
    finite = None if math.isinf(fleet.hours) else {"hours": fleet.hours, "cost": fleet.cost}
    return {
        "name": fleet.offer.name,
        "count": fleet.count,
        "machine_hours": fleet.machine_hours if finite else None,
        **(finite or {"hours": None, "cost": None}),
        "price": fleet.offer.price,
        "price_assumed": not fleet.offer.priced,
        "rate": rate_facts(fleet.rates),
        "bottleneck": fleet.bottleneck,
        "decode_cores": fleet.cores,
        "gigabits": fleet.gigabits,
        "memory": fleet.rates.expected.memory,
        "card": fleet.rates.expected.card,
        "enough_memory": fleet.enough,
        "one_more": asdict(fleet.one_more) if fleet.one_more else None,
        "relief": asdict(fleet.relief) if fleet.relief else None,
    }


def rate_facts(rates: Rates) -> dict[str, Any]:
    """Return a machine's rates: seconds of audio a second of each part, and whether they were measured."""
    return {
        "realtime": rates.throughput,
        "parts": rates.parts(),
        "measured": rates.measured,
        "source": rates.source,
    }

"""A fleet that was simulated, in words and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from emotape.delivery.cli.fleet_sizes import rate_facts, sources
from emotape.delivery.planning.simulation_policy import shown
from emotape.delivery.planning.simulation_traffic import MOST
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.planning.fleet_outlook import Played
    from emotape.wording import Language

_NAMED = ("day", "flash", "loss")
_CROWD = 5.0


def lines(played: Played, language: Language) -> Iterator[str]:
    """Yield what a person reads."""
    outcome, kind = played.outcome, played.asked.traffic or "day"
    named: dict[str, Any] = {"peak": played.asked.peak or _CROWD, "path": kind}
    what = interface_text(f"fleet_traffic_{kind if kind in _NAMED else 'file'}", language, **named)
    amount: dict[str, Any] = {"arrived": outcome.arrived, "audio": outcome.audio_hours, "span": outcome.span_hours}
    names = {"model": played.network.name, "name": played.offer.name}
    yield interface_text("fleet_traffic", language, traffic=what, **amount, **names)
    if not played.network.present:
        yield interface_text("fleet_absent", language, model=played.network.name)
    if outcome.faster > 1:
        yield interface_text("fleet_faster", language, faster=outcome.faster, most=MOST)
    yield from _setting(played, language)
    yield ""
    yield from _outcome(played, language)
    yield ""
    yield from sources({played.offer.name: played.rates}, language)


def _setting(played: Played, language: Language) -> Iterator[str]:
    served, policy, rates = played.served, played.policy, played.rates
    yield interface_text(
        "fleet_replica",
        language,
        realtime=rates.throughput,
        mark=_mark(rates.measured, language),
        source=rates.source,
        lanes=served.lanes,
        queue=served.queue,
    )
    told = ", ".join(f"{shown(name)} {value:g}" for name, value in asdict(policy).items() if value is not None)
    assumed = policy.start is not None or bool(played.offer.machine.accelerators)
    mark = _mark(not assumed, language)
    yield interface_text("fleet_policy_line", language, policy=told, boot=policy.boot, start=served.start, mark=mark)


def _outcome(played: Played, language: Language) -> Iterator[str]:
    outcome = played.outcome
    queued: dict[str, Any] = asdict(outcome.queued)
    answers: dict[str, Any] = asdict(outcome.answered_after)
    counts: dict[str, Any] = {
        "answered": outcome.answered,
        "refused": outcome.refused,
        "share": 100 * outcome.refused_share,
        "waiting": outcome.waiting,
        "moved": outcome.moved,
    }
    replicas: dict[str, Any] = {
        "hours": outcome.replica_hours,
        "busy": 100 * outcome.busy,
        "cost": outcome.replica_hours * played.offer.price,
        "most": outcome.most_replicas,
        "ups": outcome.scale_ups,
        "downs": outcome.scale_downs,
        "lost": outcome.lost,
    }
    yield interface_text("fleet_queued", language, **queued)
    yield interface_text("fleet_answers", language, **answers)
    yield interface_text("fleet_counts", language, **counts)
    yield interface_text("fleet_replicas", language, **replicas)
    if played.asked.plot is not None:
        yield interface_text("fleet_plotted", language, path=played.asked.plot)


def _mark(measured: bool, language: Language) -> str:
    return interface_text("fleet_measured" if measured else "fleet_estimated", language)


def facts(played: Played) -> dict[str, Any]:
    """Return what a program reads."""
    return {
        "model": {"name": played.network.name, "parameters": played.network.dims.parameters},
        "machine": {
            "name": played.offer.name,
            "price": played.offer.price,
            "price_assumed": not played.offer.priced,
            "rate": rate_facts(played.rates),
        },
        "replica": asdict(played.served),
        "traffic": {
            "name": played.asked.traffic or "day",
            "rate": played.asked.rate,
            "seconds": played.asked.audio.seconds,
            "seed": played.asked.seed or 0,
            "span_seconds": played.traffic.span,
            "faster": played.traffic.faster,
            "lost_at": played.traffic.lost,
        },
        "policy": {shown(name): value for name, value in asdict(played.policy).items()},
        "first_replicas": played.first,
        "outcome": asdict(played.outcome) | {"cost": played.outcome.replica_hours * played.offer.price},
        "moments": [asdict(moment) for moment in played.log.moments],
    }

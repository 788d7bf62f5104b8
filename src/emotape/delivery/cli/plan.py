"""`emotape plan`: how this machine would run the model, why, what to expect, and what hardware a use needs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotape.delivery.cli import fleet as fleets
from emotape.delivery.cli.language import settle_language
from emotape.delivery.cli.options import (
    DtypeOption,
    LanguageOption,
    ModelOption,
    ModelsFolderOption,
    OffloadOption,
    ThreadsOption,
    setting,
)
from emotape.errors import BadRequest
from emotape.settings import read_settings
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.delivery.planning.hardware import Candidate
    from emotape.delivery.planning.outlook import Outlook
    from emotape.delivery.threads import Remark
    from emotape.engine.plan import Machine
    from emotape.wording import Language

UseName = StrEnum("UseName", ["personal", "team", "production"])
DevicesOption = Annotated[list[str] | None, setting("device")]
_GB = 1e9


def plan(
    context: typer.Context,
    use: Annotated[
        UseName | None,
        typer.Option("--for", help="Also say which hardware a use needs: personal, team or production."),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Recordings a second; needs --for or --fleet.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of a recording, in seconds. (default: 10)")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Multiply matrices for two seconds, and expect by that.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    model: ModelOption = None,
    models_folder: ModelsFolderOption = None,
    language: LanguageOption = None,
    device: DevicesOption = None,
    dtype: DtypeOption = None,
    threads: ThreadsOption = None,
    offload: OffloadOption = None,
    fleet: fleets.FleetOption = False,
    hours: fleets.HoursOption = None,
    within: fleets.WithinOption = None,
    peak: fleets.PeakOption = None,
    price: fleets.PriceOption = None,
    kilobits: fleets.KilobitsOption = None,
    kind: fleets.FormatOption = None,
    network: fleets.LinkOption = None,
    store: fleets.StoreOption = None,
    measured: fleets.MeasuredOption = None,
    traffic: fleets.TrafficOption = None,
    policy: fleets.PolicyOption = None,
    seed: fleets.SeedOption = None,
    plot: fleets.PlotOption = None,
) -> None:
    """Say how this machine would run the model, why, and what to expect; or size a fleet. Loads no model."""
    from emotape.delivery.planning.fleet_asked import Asked
    from emotape.delivery.planning.outlook import look_ahead, look_out
    from emotape.delivery.threads import heeded

    named = None if fleet or not device else device[-1]
    flags = {"device": named, "dtype": dtype, "threads": threads, "offload": offload}
    settings = read_settings(model=model, models_folder=models_folder, language=language, **flags)
    spoken = settle_language(context, settings)
    asked = Asked(
        hours=hours, within=within, seconds=seconds, rate=rate, peak=peak, devices=fleets.devices_of(device),
        price=price or None, kilobits=kilobits, format=kind, network=network, store=store, measured=measured or None,
        traffic=traffic, policy=policy, seed=seed, plot=plot, measure=measure,
    )  # fmt: skip
    if fleet:
        fleets.run(asked, settings, spoken, uses=use is not None, as_json=as_json)
        return
    fleets.check_unasked(asked)
    _check(use, rate, seconds)
    settings, remarks = heeded(context, settings)
    outlook = look_out(settings, seconds or 10.0, measure=measure)
    verdict = look_ahead(outlook, use.value, rate, seconds) if use else None
    if as_json:
        found = _facts(outlook, remarks, spoken) | ({"for": _verdict_facts(*verdict)} if verdict else {})
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    typer.echo("\n".join(_lines(outlook, remarks, spoken)))
    if verdict:
        typer.echo("\n" + "\n".join(_verdict_lines(*verdict, spoken)))


def _check(use: UseName | None, rate: float | None, seconds: float | None) -> None:
    if rate is not None and use is None:
        raise BadRequest("option_needs", option="--rate", needed="--for personal|team|production")
    for option, value in (("--rate", rate), ("--seconds", seconds)):
        if value is not None and not 0 < value < float("inf"):
            raise BadRequest("plan_not_positive", option=option, value=value)


def _lines(outlook: Outlook, remarks: tuple[Remark, ...], language: Language) -> Iterator[str]:
    """Yield what a person reads."""
    yield interface_text("plan_machine", language, **_machine_words(outlook.planned.machine, outlook.processor))
    yield interface_text("plan_model", language, model=outlook.model, millions=outlook.planned.parameters / 1e6)
    yield ""
    for choice in outlook.choices:
        name = interface_text(f"plan_name_{choice.name}", language)
        reason = interface_text(choice.reason, language, **choice.facts)
        yield f"{name} = {choice.value:g}" if isinstance(choice.value, float) else f"{name} = {choice.value}"
        yield f"    {reason}"
    for remark in remarks:
        yield interface_text(remark.code, language, **remark.facts)
    yield ""
    yield from _expected_lines(outlook, language)


def _expected_lines(outlook: Outlook, language: Language) -> Iterator[str]:
    expected = outlook.expected
    facts: dict[str, Any] = {
        "seconds": expected.seconds,
        "realtime": expected.realtime,
        "latency": expected.latency,
        "memory": expected.memory / _GB,
    }
    yield interface_text("plan_expected", language, **facts)
    if expected.card:
        yield interface_text("plan_expected_card", language, card=expected.card / _GB)
    memory = outlook.planned.machine.memory
    if memory is not None and expected.memory > memory:
        yield interface_text("plan_memory_short", language, memory=memory / _GB, needed=expected.memory / _GB)
    code = "plan_measured" if outlook.rate.measured else "plan_typical"
    yield interface_text("plan_on_card" if expected.card else code, language, rate=outlook.rate.core)


def _machine_words(machine: Machine, processor: str) -> dict[str, object]:
    quota = "" if machine.quota is None else f" (quota {machine.quota:g})"
    cards = ", ".join(card.title or card.name for card in machine.accelerators) or "–"
    return {
        "processor": processor,
        "cores": f"{machine.cores}{quota}",
        "memory": "?" if machine.memory is None else f"{machine.memory / _GB:.1f}",
        "free": "?" if machine.memory_free is None else f"{machine.memory_free / _GB:.1f}",
        "swap": "?" if machine.swap is None else f"{machine.swap / _GB:.1f}",
        "sets": ", ".join(machine.instruction_sets) or "–",
        "cards": cards,
    }


def _verdict_lines(
    candidates: tuple[Candidate, ...], best: Candidate, here: Candidate, language: Language
) -> Iterator[str]:
    code = "plan_suffices" if here.suffices else "plan_not_enough" if here.count else "plan_too_slow"
    latency = here.expected.latency if here.answered_after is None else here.answered_after
    facts: dict[str, Any] = {"busy": 100 * here.busy, "latency": latency}
    yield interface_text(code, language, **facts)
    yield interface_text("plan_recommended", language, name=best.name, count=max(1, best.count))
    for each in candidates:
        count = str(each.count) if each.count else "–"
        yield f"  {count:>3} × {each.name:<34} {each.expected.realtime:>8.0f} ×  {each.expected.latency:6.2f} s"
    yield interface_text("plan_market_note", language)


def _facts(outlook: Outlook, remarks: tuple[Remark, ...], language: Language) -> dict[str, Any]:
    """Return what a program reads."""
    chosen = [
        {
            "name": choice.name,
            "value": choice.value,
            "reason": choice.reason.removeprefix("plan_"),
            "text": interface_text(choice.reason, language, **choice.facts),
        }
        for choice in outlook.choices
    ]
    return {
        "machine": {"processor": outlook.processor} | asdict(outlook.planned.machine),
        "model": {"name": outlook.model, "parameters": outlook.planned.parameters},
        "choices": chosen,
        "variables": [
            dict(remark.facts) | {"outcome": remark.code.removeprefix("plan_variable_")} for remark in remarks
        ],
        "expected": asdict(outlook.expected),
        "core_gflops": outlook.rate.core,
        "measured": outlook.rate.measured,
    }


def _verdict_facts(candidates: tuple[Candidate, ...], best: Candidate, here: Candidate) -> dict[str, Any]:
    return {
        "suffices": here.suffices,
        "this_machine": asdict(here),
        "recommended": best.name,
        "candidates": [asdict(each) for each in candidates],
    }

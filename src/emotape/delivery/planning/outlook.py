"""This machine, the plan for it, and what to expect of it: everything that `emotape plan` tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emotape.delivery.planning.cost import Expected, Rate, expect, typical_rate
from emotape.delivery.planning.hardware import NEEDS, Candidate, judge, market, recommended
from emotape.engine.choices import Choice, Planned, choices
from emotape.engine.machine import accelerators, look_at_machine, multiplies_bfloat16, processor_name
from emotape.engine.resident import make_plan
from emotape.settings import recognizer_options

if TYPE_CHECKING:
    from emotape.model.dims import Dims
    from emotape.settings import Settings


@dataclass(frozen=True)
class Outlook:
    """What was found, decided and expected."""

    processor: str
    model: str
    planned: Planned
    dims: Dims
    rate: Rate
    expected: Expected

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Every choice with its reason."""
        return choices(self.planned)


def look_out(settings: Settings, seconds: float, *, measure: bool) -> Outlook:
    """Look at this machine and plan as `recognize` and `serve` do. Raises ModelFault, EngineFault and BadRequest."""
    from emotape.model.dims import read_dims
    from emotape.model.weights import CONFIG, read_labels
    from emotape.store.catalogue import resolve

    options = recognizer_options(settings).engine
    entry = resolve(settings.model, settings.models_folder)
    machine = look_at_machine(bfloat16=multiplies_bfloat16(), accelerators=accelerators(options.device))
    dims = read_dims(entry.path / CONFIG, classes=len(read_labels(entry.path)))
    made = make_plan(options, entry.path, machine)
    made = made if settings.cache_megabytes is None else replace(made, cache_megabytes=settings.cache_megabytes)
    planned = Planned(machine, options, dims.parameters, made)
    rate = _rate(planned, dims, measure=measure)
    return Outlook(processor_name(), entry.name, planned, dims, rate, expect(planned, dims, rate, seconds))


def look_ahead(
    outlook: Outlook, use: str, rate: float | None, seconds: float | None
) -> tuple[tuple[Candidate, ...], Candidate, Candidate]:
    """Return the machines of the market, the one to recommend, and this one, judged by what a use needs."""
    usual = NEEDS[use]
    need = replace(usual, rate=rate or usual.rate, seconds=seconds or usual.seconds)
    candidates = market(need, outlook.dims)
    expected = expect(outlook.planned, outlook.dims, outlook.rate, need.seconds)
    return candidates, recommended(candidates), judge(outlook.processor, expected, need)


def _rate(planned: Planned, dims: Dims, *, measure: bool) -> Rate:
    if not measure or planned.plan.devices != ("cpu",):
        return typical_rate(planned.machine, planned.plan.arithmetic)
    from emotape.delivery.planning.measure import measured_rate

    return measured_rate(dims, planned.plan.arithmetic)

"""What was planned, choice by choice, each with the reason in figures: what `emotape plan` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.engine.plan import DECODED_SHARE, QUEUE_SECONDS_PER_CORE, WAITING_BYTES_PER_SECOND, is_small, spare_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emotape.engine.plan import Machine, Plan
    from emotape.engine.resident import EngineOptions

_GB: Final = 1e9

Reason = tuple[str, dict[str, object]]


@dataclass(frozen=True)
class Choice:
    """One value of a plan. `reason` is the code of its text in wording/plan.toml, `facts` fill it."""

    name: str
    value: str | int | float
    reason: str
    facts: Mapping[str, object]


@dataclass(frozen=True)
class Planned:
    """A plan with what it was made from."""

    machine: Machine
    options: EngineOptions
    parameters: int
    plan: Plan

    @property
    def small(self) -> bool:
        """Whether the network is so small that the time goes into calls."""
        return is_small(self.parameters)


def choices(planned: Planned) -> tuple[Choice, ...]:
    """Return every choice, in the order in which one follows from the other."""
    plan = planned.plan
    values: dict[str, str | int | float] = {
        "devices": ", ".join(plan.devices),
        "arithmetic": plan.arithmetic,
        "replicas": plan.replicas if plan.devices == ("cpu",) else len(plan.devices),
        "compute_threads": plan.compute_threads,
        "tape_tokens": plan.tape_tokens,
        "offload": sum(each.blocks for each in plan.offload),
        "decode_threads": plan.decode_threads,
        "decode_processes": plan.decode_processes,
        "queue_seconds": plan.queue_seconds,
        "cache_megabytes": plan.cache_megabytes,
        "decoded_megabytes": plan.decoded_megabytes,
    }
    return tuple(Choice(name, value, *_REASONS[name](planned)) for name, value in values.items())


def _devices(planned: Planned) -> Reason:
    cards = planned.machine.accelerators
    if not cards:
        return ("plan_asked" if planned.options.device == "cpu" else "plan_no_card"), {}
    card = cards[0]
    facts = {"title": card.title or card.name, "free": (card.free or 0) / _GB, "total": (card.total or 0) / _GB}
    if card.free is None:
        return "plan_accelerator", facts
    return ("plan_slice" if card.is_slice else "plan_card"), facts


def _arithmetic(planned: Planned) -> Reason:
    if planned.options.dtype != "auto":
        return "plan_asked", {}
    if planned.small:
        return "plan_small_exact", {"millions": planned.parameters / 1e6}
    facts: dict[str, object] = {"sets": ", ".join(planned.machine.instruction_sets) or "–"}
    return f"plan_{planned.plan.arithmetic}", facts


def _replicas(planned: Planned) -> Reason:
    plan = planned.plan
    if plan.devices != ("cpu",):
        return "plan_one_for_each_card", {}
    if planned.small and planned.options.compute_threads:
        return "plan_asked", {}
    if planned.small:
        return "plan_small_side_by_side", {"millions": planned.parameters / 1e6}
    return ("plan_teams" if plan.replicas > 1 else "plan_one_team"), {"threads": plan.compute_threads}


def _compute_threads(planned: Planned) -> Reason:
    machine, plan = planned.machine, planned.plan
    if planned.small and plan.devices == ("cpu",):
        return "plan_small_alone", {}
    if planned.options.compute_threads:
        return "plan_asked", {}
    if machine.quota is not None and machine.running < machine.cores:
        return "plan_quota", {"quota": machine.quota, "cores": machine.cores, "threads": machine.running}
    if machine.multiplying < machine.running:
        return "plan_physical", {"cores": machine.cores, "physical": machine.physical}
    return "plan_cores", {"cores": machine.running}


def _tape_tokens(planned: Planned) -> Reason:
    if planned.options.tape_tokens:
        return "plan_asked", {}
    facts: dict[str, object] = {"seconds": planned.plan.tape_tokens / 50}
    if planned.machine.accelerators:
        return "plan_tape_card", facts
    return ("plan_tape_small" if planned.small else "plan_tape_large"), facts


def _offload(planned: Planned) -> Reason:
    if planned.options.offload is not None:
        return "plan_asked", {}
    off = next(iter(sorted(planned.plan.offload, key=lambda each: -each.blocks)), None)
    if off is None:
        return "plan_offload_processor", {}
    facts: dict[str, object] = {"needed": off.needed / _GB, "free": (off.free or 0) / _GB}
    return ("plan_offload" if off.blocks else "plan_fits"), facts


def _decode_threads(planned: Planned) -> Reason:
    if planned.options.decode_threads:
        return "plan_asked", {}
    return "plan_decode_threads", {}


def _decode_processes(planned: Planned) -> Reason:
    if planned.options.decode_processes is not None:
        return "plan_asked", {}
    if planned.machine.accelerators:
        return "plan_decode_card", {}
    return ("plan_decode_processes" if planned.plan.decode_processes else "plan_decode_in_threads"), {}


def _queue_seconds(planned: Planned) -> Reason:
    if planned.options.queue_seconds:
        return "plan_asked", {}
    held = planned.plan.queue_seconds * WAITING_BYTES_PER_SECOND / 1e6
    bounded = planned.plan.queue_seconds < QUEUE_SECONDS_PER_CORE * planned.machine.running
    return ("plan_queue_memory" if bounded else "plan_queue"), {"megabytes": held}


def _cache_megabytes(planned: Planned) -> Reason:
    memory = planned.machine.memory
    return ("plan_cache" if memory else "plan_cache_unknown"), {"memory": (memory or 0) / _GB}


def _decoded_megabytes(planned: Planned) -> Reason:
    machine, plan = planned.machine, planned.plan
    facts: dict[str, object] = {"hours": 1e6 * plan.decoded_megabytes / WAITING_BYTES_PER_SECOND / 3_600}
    if planned.options.decoded_megabytes:
        return "plan_asked", {}
    if machine.memory is None:
        return "plan_decoded_unknown", facts
    spare = spare_bytes(machine, plan, planned.parameters)
    halved = int(plan.decoded_megabytes) == int(DECODED_SHARE * spare / 1e6)
    return ("plan_decoded" if halved else "plan_decoded_least"), facts | {"spare": spare / _GB}


_REASONS: Final[dict[str, Callable[[Planned], Reason]]] = {
    "devices": _devices,
    "arithmetic": _arithmetic,
    "replicas": _replicas,
    "compute_threads": _compute_threads,
    "tape_tokens": _tape_tokens,
    "offload": _offload,
    "decode_threads": _decode_threads,
    "decode_processes": _decode_processes,
    "queue_seconds": _queue_seconds,
    "cache_megabytes": _cache_megabytes,
    "decoded_megabytes": _decoded_megabytes,
}

"""Which hardware a use needs: machines of the market run through the same plan and the same costs as this one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.planning.cost import expect, typical_rate
from emotape.engine.choices import Planned
from emotape.engine.plan import Accelerator, Machine, plan
from emotape.engine.resident import EngineOptions

if TYPE_CHECKING:
    from emotape.delivery.planning.cost import Expected, Rate
    from emotape.model.dims import Dims

BUSY: Final = 0.7
"""The share of a machine that steady work may take; the rest is for what comes at once."""
_GIB: Final = 1024**3
_AVX2: Final = ("avx2", "fma")
_AVX512: Final = (*_AVX2, "avx512f", "avx512_bf16")


@dataclass(frozen=True)
class Need:
    """Clips a second of so many seconds each, and how long an answer may take on average."""

    name: str
    rate: float
    seconds: float
    patience: float


NEEDS: Final = {
    "personal": Need("personal", 0.05, 10.0, 5.0),
    "team": Need("team", 1.0, 10.0, 3.0),
    "production": Need("production", 20.0, 10.0, 1.0),
}


def _card(name: str, gigabytes: int, capability: tuple[int, int], units: int) -> tuple[Accelerator, ...]:
    return (Accelerator("cuda:0", int(0.95 * gigabytes * _GIB), gigabytes * _GIB, name, capability, units),)


MARKET: Final = {
    "4 cores (AVX2)": Machine(4, memory=8 * _GIB, instruction_sets=_AVX2),
    "8 cores (AVX2)": Machine(8, memory=16 * _GIB, instruction_sets=_AVX2),
    "8 cores (AVX-512, bf16)": Machine(8, bfloat16=True, memory=16 * _GIB, instruction_sets=_AVX512),
    "16 cores (AVX-512, bf16)": Machine(
        16, bfloat16=True, memory=32 * _GIB, instruction_sets=(*_AVX512, "avx512_bf16")
    ),
    "16 cores (AMX)": Machine(16, bfloat16=True, memory=32 * _GIB, instruction_sets=(*_AVX512, "amx_bf16")),
    "4 cores, NVIDIA T4 16 GB": Machine(4, accelerators=_card("Tesla T4", 16, (7, 5), 40), memory=16 * _GIB),
    "6 cores, GeForce RTX 3060 12 GB": Machine(
        6, accelerators=_card("NVIDIA GeForce RTX 3060", 12, (8, 6), 28), memory=16 * _GIB
    ),
    "8 cores, NVIDIA L4 24 GB": Machine(8, accelerators=_card("NVIDIA L4", 24, (8, 9), 58), memory=32 * _GIB),
    "16 cores, NVIDIA H100 80 GB": Machine(16, accelerators=_card("NVIDIA H100", 80, (9, 0), 132), memory=64 * _GIB),
}
"""By what one pays for it, roughly, the cheapest first."""


@dataclass(frozen=True)
class Candidate:
    """A machine, how much of `need` one of it takes on (1: exactly), and how many there must be for a share `BUSY`."""

    name: str
    expected: Expected
    busy: float
    count: int
    answered_after: float | None

    @property
    def suffices(self) -> bool:
        """Whether one machine is enough."""
        return self.count == 1


def judge(name: str, expected: Expected, need: Need) -> Candidate:
    """Say how a machine of which this is expected does what is needed."""
    busy = need.rate * expected.work
    patient = expected.latency <= need.patience
    count = max(1, math.ceil(busy / BUSY)) if patient else 0
    return Candidate(name, expected, busy, count, expected.answered_after(need.rate / max(1, count)))


def market(need: Need, dims: Dims) -> tuple[Candidate, ...]:
    """Return every machine of the market, by price."""
    return tuple(
        judge(name, expect(p := _planned(machine, dims), dims, _rate(p), need.seconds), need)
        for name, machine in MARKET.items()
    )


def recommended(candidates: tuple[Candidate, ...]) -> Candidate:
    """Return the cheapest of which one is enough, or else the one of which fewest are."""
    enough = [candidate for candidate in candidates if candidate.suffices]
    patient = [candidate for candidate in candidates if candidate.count]
    return enough[0] if enough else min(patient or candidates, key=lambda candidate: candidate.count)


def _planned(machine: Machine, dims: Dims) -> Planned:
    return Planned(machine, EngineOptions(), dims.parameters, plan(machine, dims.parameters))


def _rate(planned: Planned) -> Rate:
    return typical_rate(planned.machine, planned.plan.arithmetic)

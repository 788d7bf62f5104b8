"""Machines that a fleet may be made of, what their cards can move, and what an hour of them is taken to cost.

Prices are round figures of what such machines were rented for by the hour; they are no offer. A user who has real ones
gives them, and every result says which were used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.planning.hardware import MARKET
from emotape.engine.plan import Accelerator, Machine
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GIB: Final = 1024**3
_AVX512: Final = ("avx2", "fma", "avx512f", "avx512_bf16")
CORE_PRICE: Final = 0.05
"""Of a core with its memory, an hour, in whatever currency the user thinks in."""
NETWORK: Final = 1.0
"""Gbit/s that one machine receives, unless the user says."""


@dataclass(frozen=True)
class _Card:
    """Bytes a second that a card moves to and from its memory (its maker's figure), and the price of an hour."""

    bandwidth: float
    price: float


_CARDS: Final = {
    "T4": _Card(320e9, 0.35),
    "RTX 3060": _Card(360e9, 0.15),
    "L4": _Card(300e9, 0.60),
    "A10": _Card(600e9, 0.75),
    "A100": _Card(1_555e9, 1.60),
    "H100": _Card(3_350e9, 2.50),
    "H200": _Card(4_800e9, 3.50),
}
_UNKNOWN_CARD: Final = _Card(300e9, 1.0)
MEASURED_MACHINE: Final = "2 cores (AVX-512, bf16)"
HERE: Final = "this machine"


def _with_card(cores: int, gigabytes: int, title: str, capability: tuple[int, int], units: int) -> Machine:
    free = int(0.95 * gigabytes * _GIB)
    card = Accelerator("cuda:0", free, gigabytes * _GIB, title, capability, units)
    return Machine(cores, accelerators=(card,), memory=4 * cores * _GIB)


FLEET: Final[dict[str, Machine]] = {
    MEASURED_MACHINE: Machine(2, bfloat16=True, memory=8 * _GIB, instruction_sets=(*_AVX512, "avx512_vnni")),
    **MARKET,
    "8 cores, NVIDIA A10 24 GB": _with_card(8, 24, "NVIDIA A10", (8, 6), 72),
    "12 cores, NVIDIA A100 40 GB": _with_card(12, 40, "NVIDIA A100", (8, 0), 108),
    "16 cores, NVIDIA H200 141 GB": _with_card(16, 141, "NVIDIA H200", (9, 0), 132),
}


@dataclass(frozen=True)
class Offer:
    """A machine, Gbit/s that it receives, and the price of an hour: the user's if `priced`, else assumed."""

    name: str
    machine: Machine
    network: float
    price: float
    priced: bool = False


def bandwidth_of(title: str) -> float:
    """Return the bytes a second that a card moves; of an unknown one, those of a small one."""
    return _card(title).bandwidth


def chosen(machines: Mapping[str, Machine], names: Sequence[str]) -> dict[str, Machine]:
    """Return the machines whose name has the words of one of `names`; all without any. "cpu", "cuda": every such one.

    Raises BadRequest `fleet_unknown_machine`.
    """
    if not names or "auto" in names:
        return dict(machines)
    found: dict[str, Machine] = {}
    for name in names:
        fitting = {key: machine for key, machine in machines.items() if _fits(name, key, machine)}
        if not fitting:
            raise BadRequest("fleet_unknown_machine", name=name, known="; ".join(machines))
        found |= fitting
    return found


def offers(machines: Mapping[str, Machine], prices: Mapping[str, float], network: float) -> tuple[Offer, ...]:
    """Put prices to machines: the user's for the names that fit ("" is all), or else the assumed ones.

    Raises BadRequest `fleet_unknown_machine` for a price of nothing.
    """
    named = {
        key: price for name, price in prices.items() for key in chosen(machines, (name,) if name else ())
    }  # the last one counts
    return tuple(
        Offer(name, machine, network, named.get(name, assumed_price(machine)), name in named)
        for name, machine in machines.items()
    )


def assumed_price(machine: Machine) -> float:
    """Return what an hour is taken to cost: its cores, and its cards."""
    return CORE_PRICE * machine.cores + sum(_card(card.title).price for card in machine.accelerators)


def _fits(name: str, key: str, machine: Machine) -> bool:
    if name in ("cpu", "cuda"):
        return bool(machine.accelerators) == (name == "cuda")
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", key, re.IGNORECASE) is not None  # "2 cores" are not 12


def _card(title: str) -> _Card:
    words = f" {title} "
    fitting = [name for name in _CARDS if f" {name} " in words] or [name for name in _CARDS if name in words]
    return _CARDS[max(fitting, key=len)] if fitting else _UNKNOWN_CARD

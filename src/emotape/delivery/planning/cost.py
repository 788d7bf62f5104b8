"""What a plan should bring: seconds, audio a second, and memory, from the network's arithmetic and the machine's rate.

The constants were fitted to `emotape bench throughput` and `emotape bench peers` on a two-core processor with AVX-512
and bf16; the share of a card's peak comes from one H200. Rates that were not measured on the machine itself are typical
for its instruction sets and may be off by a factor of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.bench.flops import clip_flops
from emotape.engine.plan import PROCESS_BYTES

if TYPE_CHECKING:
    from emotape.engine.choices import Planned
    from emotape.engine.plan import Accelerator, Machine
    from emotape.model.dims import Dims

_SAMPLE_RATE: Final = 16_000
_TYPICAL: Final = {"avx512f": 105.0, "avx2": 50.0, "asimd": 20.0}  # GFLOP/s of a core in fp32, the first that is there
_SLOWEST: Final = 10.0
_FASTER: Final = {  # than fp32, by arithmetic: the best instruction set that is there
    "bfloat16": {"amx_bf16": 8.0, "avx512_bf16": 2.0, "bf16": 2.0},
    "int8": {"amx_int8": 16.0, "avx512_vnni": 3.8, "avx_vnni": 4.0, "i8mm": 4.0},
}
_SHARE: Final = {"float32": 0.86, "bfloat16": 0.77, "int8": 0.54, "float16": 0.3}  # of the rate of products alone
_SMALL_SHARE: Final = 0.65  # of a small network
_WIDE: Final = 1024  # what is done beside the products of halves and integers weighs more in a narrower network
_NARROWER: Final = 1.6
_TEAM: Final = 0.8  # threads that share a tape bring threads ** this
_SIDE_BY_SIDE: Final = 0.75  # and tapes side by side, tapes ** this: they share caches and the interpreter
_AROUND: Final = 0.007  # seconds that a lone clip takes beside the products
_AROUND_BUSY: Final = 0.004  # when many are under way
_DECODED: Final = 700.0  # seconds of audio that a core decodes a second
_CARD_SHARE: Final = 0.33
_CARD_CLOCK: Final = 1.5e9
_CARD_AROUND: Final = 0.003
_CARD_AROUND_BUSY: Final = 0.0002
_OPERATIONS: Final = {(7, 0): 1024, (7, 5): 1024, (8, 0): 2048, (8, 6): 1024, (8, 9): 1024, (9, 0): 4096, (10, 0): 8192}
_PLAIN_OPERATIONS: Final = 256  # without units for products of halves
_PROGRAM_BYTES: Final = 330_000_000
_LONGEST_TOKENS: Final = 1_510  # of a window
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "float8": 1}


@dataclass(frozen=True)
class Rate:
    """GFLOP/s of one core in products of the network's shapes and the plan's arithmetic; measured here, or typical."""

    core: float
    measured: bool = False


@dataclass(frozen=True)
class Expected:
    """What clips of `seconds` should cost.

    network   seconds of the network alone for one of many
    work      the same with decoding: seconds of the whole machine
    latency   seconds until a lone one is answered
    realtime  seconds of audio a second when many ask
    memory    bytes of this machine, at its fullest
    card      bytes of a card, 0 without one
    """

    seconds: float
    network: float
    work: float
    latency: float
    realtime: float
    memory: int
    card: int

    def answered_after(self, rate: float) -> float | None:
        """Return the mean seconds to an answer when `rate` clips a second come at random; None: ever more wait."""
        busy = rate * self.work
        return self.latency + self.work * busy / (2 * (1 - busy)) if busy < 1 else None


def typical_rate(machine: Machine, arithmetic: str) -> Rate:
    """Return what a core of such a machine usually does."""
    plain = next((rate for name, rate in _TYPICAL.items() if name in machine.instruction_sets), _SLOWEST)
    faster = _FASTER.get(arithmetic, {})
    return Rate(plain * next((factor for name, factor in faster.items() if name in machine.instruction_sets), 1.0))


def expect(planned: Planned, dims: Dims, rate: Rate, seconds: float) -> Expected:
    """Return what clips of `seconds` should cost on this machine with this plan."""
    operations = clip_flops(round(seconds * _SAMPLE_RATE), dims)
    decoding, machine = seconds / _DECODED, planned.machine
    if planned.plan.devices == ("cpu",):
        network, alone = _core_work(planned, rate, operations, dims.embed_dim)
        work = network + decoding / machine.running  # on the same cores
    else:
        network, alone = _card_work(planned, operations)
        work = max(network, decoding / machine.running)  # meanwhile
    memory, card = _memory(planned, dims), _card_memory(planned, dims)
    return Expected(seconds, network, work, alone + decoding, seconds / work, memory, card)


def _core_work(planned: Planned, rate: Rate, operations: float, width: int) -> tuple[float, float]:
    """Return the seconds for one clip of many, and for one alone."""
    plan, quota = planned.plan, planned.machine.quota or float("inf")
    share = _SMALL_SHARE if planned.small else _SHARE[plan.arithmetic]
    if plan.arithmetic in ("bfloat16", "int8"):
        share *= min(1.0, width / _WIDE) ** _NARROWER
    one = operations / (1e9 * rate.core * share * min(plan.compute_threads, quota) ** _TEAM)
    side_by_side = min(plan.replicas, quota) ** _SIDE_BY_SIDE
    return (one + _AROUND_BUSY) / side_by_side, one + _AROUND


def _card_work(planned: Planned, operations: float) -> tuple[float, float]:
    peaks = [card_peak(card, planned.plan.arithmetic) for card in planned.machine.accelerators]
    lone = operations / (_CARD_SHARE * max(peaks))
    return operations / (_CARD_SHARE * sum(peaks)) + _CARD_AROUND_BUSY, lone + _CARD_AROUND


def card_peak(card: Accelerator, arithmetic: str) -> float:
    """Return the operations a second that a card's units do at most; consumer cards add in fp32 at half the rate."""
    units = card.multiprocessors or 20
    operations = _OPERATIONS.get(card.capability or (0, 0), 1024 if (card.capability or (0, 0)) > (8, 0) else 256)
    if arithmetic == "float32":
        operations = _PLAIN_OPERATIONS
    elif "GeForce" in card.title and (card.capability or (0, 0)) >= (7, 5):
        operations //= 2
    return units * operations * _CARD_CLOCK


def _memory(planned: Planned, dims: Dims) -> int:
    """Add up the program, the weights, one window on every tape, and the processes, waiting audio and results."""
    plan = planned.plan
    on_card = plan.devices != ("cpu",)
    weights = 0 if on_card and not any(each.blocks for each in plan.offload) else _weights(planned)
    values = 4 * _LONGEST_TOKENS * (4 * dims.embed_dim + 2 * dims.mlp_dim)
    return round(
        _PROGRAM_BYTES
        + weights
        + (0 if on_card else plan.replicas * values)
        + plan.decode_processes * PROCESS_BYTES
        + 1e6 * plan.cache_megabytes
    )


def _card_memory(planned: Planned, dims: Dims) -> int:
    from emotape.engine.card import needed_bytes

    if planned.plan.devices == ("cpu",):
        return 0
    block = _BYTES[planned.plan.arithmetic] * dims.block_parameters
    off = max((each.blocks for each in planned.plan.offload), default=0) * block
    return max(0, needed_bytes(planned.plan.tape_tokens, dims, planned.plan.arithmetic) - off)


def _weights(planned: Planned) -> int:
    return _BYTES[planned.plan.arithmetic] * planned.parameters

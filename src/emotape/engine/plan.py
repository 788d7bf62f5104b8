"""What the machine has decides how the engine runs: pure arithmetic over a `Machine` record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from emotape.model.dims import LARGE

if TYPE_CHECKING:
    from emotape.model.dims import Dims

# On a CPU a longer tape is hardly faster per second of audio, but it holds more activations at once. 32 s of frames
# takes any one window (30 s) whole.
_CPU_TAPE_TOKENS: Final = 1_620
# A large network's activations fall out of the processor's caches: one clip at a time is a fifth faster than a full
# tape. What is shorter than this (2.6 s) is still packed, and what is longer goes alone.
_LARGE_TAPE_TOKENS: Final = 128
QUEUE_SECONDS_PER_CORE: Final = 1_800.0
"""Seconds of audio that may wait, for each core."""
# The rest of a card's free memory is lost to rounding, to the libraries' workspaces and to what others take meanwhile.
_USABLE: Final = 0.9
_MANY_CORES: Final = 4
_MOST_PROCESSES: Final = 32
WAITING_BYTES_PER_SECOND: Final = 64_000
"""What a second of audio that waits takes of memory: 16 kHz in float32."""
_WAITING_SHARE: Final = 0.1  # of the memory
ALONE: Final = 1.75
"""How many times the memory for decoded recordings a single one may take, while no other long one does."""
DECODED_SHARE: Final = 0.5  # of the memory that stays free: one alone and short ones beside it then fill all of that
_LEAST_DECODED_SHARE: Final = 0.1  # of the memory, however much of it others use now
_UNKNOWN_DECODED: Final = 2_147.0  # megabytes: as much as one recording may become
_WORKING_BYTES: Final = 128_000_000  # by which the first requests make a process grow: kernels, voice activity, heaps
PROCESS_BYTES: Final = 80_000_000
"""Memory of a process that decodes."""
_PROCESSES_SHARE: Final = 0.25  # of the memory
_LEAST_WAITING: Final = 60.0
_MOST_REPLICAS: Final = 8  # small tapes at once that the interpreter can keep going; more than two were not measured
_TEAM: Final = 16  # threads that a product of one clip's size still keeps busy
_LEFT_OVER: Final = 4  # threads that bring more by decoding than by making the teams one more, and each smaller
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "float8": 2}  # float8: outside the blocks

Arithmetic = Literal["float32", "bfloat16", "float16", "int8", "float8"]


@dataclass(frozen=True)
class Accelerator:
    """A device beside the processor by its torch name; its memory in bytes, free and in all, where torch knows.

    Of a graphics card also its maker's name for it, its compute capability and its multiprocessors.
    """

    name: str
    free: int | None = None
    total: int | None = None
    title: str = ""
    capability: tuple[int, int] | None = None
    multiprocessors: int | None = None

    @property
    def is_card(self) -> bool:
        """Whether it is a graphics card that runs recorded tapes of fixed sizes."""
        return self.name.startswith("cuda")

    @property
    def is_slice(self) -> bool:
        """Whether it is a part of a card (MIG), which its name then says."""
        return " MIG " in f" {self.title} "


@dataclass(frozen=True)
class Machine:
    """What there is, as far as the system tells.

    cores             processors that this process may run on; two of them may be threads of one core
    bfloat16          whether the processor multiplies in bf16 itself, which is then twice as fast as fp32
    physical          cores that these processors are
    quota             cores' time that a container may use
    memory, _free     bytes: the machine's, or the container's if it has less
    swap              bytes
    instruction_sets  for products of matrices, by Linux's names
    """

    cores: int
    bfloat16: bool = False
    accelerators: tuple[Accelerator, ...] = ()
    physical: int | None = None
    quota: float | None = None
    memory: int | None = None
    memory_free: int | None = None
    swap: int | None = None
    instruction_sets: tuple[str, ...] = ()

    @property
    def running(self) -> int:
        """Threads that can run at once. Less than a quarter of a core is left unused rather than fought for."""
        return self.cores if self.quota is None else max(1, min(self.cores, int(self.quota + 0.75)))

    @property
    def multiplying(self) -> int:
        """Threads worth their products: the two of one core share its units."""
        return min(self.running, self.physical or self.running)


@dataclass(frozen=True)
class Offload:
    """How many of the network's last blocks leave their weights in the machine's memory, and why.

    The reason is in bytes: `needed` on the device without offload, for the weights and a tape of one window, and `free`
    there now (None where torch does not know).
    """

    device: str
    blocks: int
    needed: int
    free: int | None


@dataclass(frozen=True)
class Plan:
    """How the engine runs.

    compute_threads  threads of the network's matrix products, of each replica
    replicas         tapes that run at once on a processor
    decode_threads   recordings decoded at once; decoding overlaps with the network
    decode_processes processes that decode for these threads at most; 0: the threads decode themselves
    tape_tokens      most tokens on one tape
    queue_seconds    seconds of audio that may wait before callers are refused
    devices          where the network runs, one runner each
    arithmetic       what the network calculates in, if it then agrees with fp32
    offload          for each accelerator, which weights stay off it
    cache_megabytes  10^6 bytes of results that a server keeps
    decoded_megabytes  10^6 bytes for recordings that are decoded, or wait decoded; one alone may take 1.75 times that
    """

    compute_threads: int
    decode_threads: int
    tape_tokens: int
    queue_seconds: float
    devices: tuple[str, ...]
    arithmetic: Arithmetic
    offload: tuple[Offload, ...] = ()
    decode_processes: int = 0
    replicas: int = 1
    cache_megabytes: float = 64.0
    decoded_megabytes: float = _UNKNOWN_DECODED

    def host_blocks(self, device: str) -> int:
        """Return how many blocks leave their weights off `device`."""
        return sum(each.blocks for each in self.offload if each.device == device)


def plan(machine: Machine, parameters: int, threads: int | None = None) -> Plan:
    """Decide how to run a network of `parameters` on `machine`; `threads` are all that it may use, if the user says."""
    replicas, team = _teams(machine, parameters, threads or machine.multiplying)
    return Plan(
        compute_threads=team,
        replicas=replicas,
        decode_threads=max(1, min(8, machine.running)),
        decode_processes=_decode_processes(machine),
        tape_tokens=_CPU_TAPE_TOKENS if is_small(parameters) or machine.accelerators else _LARGE_TAPE_TOKENS,
        queue_seconds=_queue_seconds(machine),
        devices=tuple(accelerator.name for accelerator in machine.accelerators) or ("cpu",),
        arithmetic=_arithmetic(machine, parameters),
        cache_megabytes=cache_megabytes(machine),
    )


def is_small(parameters: int) -> bool:
    """Return whether the time of such a network goes into calls, not into products."""
    return parameters < LARGE


def _teams(machine: Machine, parameters: int, threads: int) -> tuple[int, int]:
    """Return how many tapes run at once on a processor, and the threads of each; a few may be left over, for decoding.

    A small network's products are over before a second thread has begun: two tapes side by side bring twice what one
    with two threads does. A large network keeps its threads busy, and one caller is answered sooner by all of them.
    """
    if machine.accelerators:
        return 1, threads
    if is_small(parameters):
        return min(_MOST_REPLICAS, threads), 1
    replicas = max(1, -(-(threads - _LEFT_OVER) // _TEAM))
    return replicas, min(_TEAM, threads // replicas)


def _queue_seconds(machine: Machine) -> float:
    """Let half an hour a core wait, in no more than a tenth of the memory."""
    wanted = QUEUE_SECONDS_PER_CORE * machine.running
    if machine.memory is None:
        return wanted
    return min(wanted, max(_LEAST_WAITING, _WAITING_SHARE * machine.memory // WAITING_BYTES_PER_SECOND))


def cache_megabytes(machine: Machine) -> float:
    """Decide in how much memory a server keeps results: a 256th, from 16 to 256 MB; tens of thousands of results."""
    return 64.0 if machine.memory is None else float(min(256, max(16, machine.memory // 256_000_000)))


def decoded_megabytes(machine: Machine, made: Plan, parameters: int) -> float:
    """Decide in how much memory recordings are decoded and wait decoded: half of what stays free beside the model.

    What others use just now may come back: it is no less than a tenth of the memory, as for what waits.
    """
    if machine.memory is None:
        return _UNKNOWN_DECODED
    least = _LEAST_DECODED_SHARE * machine.memory
    return float(max(least, DECODED_SHARE * spare_bytes(machine, made, parameters)) // 1_000_000)


def spare_bytes(machine: Machine, made: Plan, parameters: int) -> float:
    """Return the bytes that stay free beside the model, the decoding processes and the cache.

    Below 0 if they do not fit. Where the system does not tell what is free, half of the memory counts as that.
    """
    free = machine.memory_free if machine.memory_free is not None else (machine.memory or 0) // 2
    weights = _BYTES[made.arithmetic] * parameters if made.devices == ("cpu",) else 0
    processes = made.decode_processes * PROCESS_BYTES
    return free - weights - processes - 1e6 * made.cache_megabytes - _WORKING_BYTES


def _arithmetic(machine: Machine, parameters: int) -> Arithmetic:
    """Decide what to calculate in where it pays: halves.

    A graphics card multiplies in both kinds of halves at one rate, and this network's values stay within the range of
    the finer one. A processor has only the coarser one, if any.
    """
    if is_small(parameters):
        return "float32"
    if machine.accelerators:
        return (
            "float16" if all(each.is_card and _multiplies_halves(each) for each in machine.accelerators) else "float32"
        )
    return "bfloat16" if machine.bfloat16 else "float32"


def _multiplies_halves(card: Accelerator) -> bool:
    """Whether a card has units for products of halves; older ones do them at a fraction of the rate of fp32."""
    return card.capability is None or card.capability >= (7, 0)


def _decode_processes(machine: Machine) -> int:
    """Decide how many processes may decode.

    One core decodes some 700 seconds of speech a second. An accelerator takes more than ten times that, and its own
    thread must not wait for the interpreter's lock behind decoding ones. Without one, processes are worth their memory
    where there are cores beside the network's; two cores are busy with the network.
    """
    room = _MOST_PROCESSES if machine.memory is None else int(_PROCESSES_SHARE * machine.memory / PROCESS_BYTES)
    if machine.accelerators:
        return min(_MOST_PROCESSES, machine.running, max(1, room))
    return min(8, machine.running, room) if machine.running >= _MANY_CORES else 0


def alike(cards: tuple[Accelerator, ...]) -> tuple[Accelerator, ...]:
    """Return the cards that are worth using together: those with at least half of what the freest has free.

    A notebook's small second card, or one that others fill, would get the same tapes and hold up whoever waits for it.
    """
    most = max((card.free or 0 for card in cards), default=0)
    return tuple(card for card in cards if 2 * (card.free or 0) >= most)


def plan_offload(accelerator: Accelerator, dims: Dims, arithmetic: Arithmetic) -> Offload:
    """Decide how many blocks leave their weights in the machine's memory, so that a tape of one window has room, too.

    Longer tapes are given up first: they save a small card little time, and bringing weights costs some on every tape.
    """
    block = _BYTES[arithmetic] * dims.block_parameters
    needed = _BYTES[arithmetic] * dims.parameters + tape_bytes(_CPU_TAPE_TOKENS, dims, arithmetic)
    missing = 0 if accelerator.free is None else needed - int(_USABLE * accelerator.free)
    # While a block runs, its weights are on the device after all: the first one that is offloaded saves nothing.
    blocks = min(dims.blocks, 1 + math.ceil(missing / block)) if missing > 0 else 0
    return Offload(accelerator.name, blocks, needed, accelerator.free)


def tape_bytes(tokens: int, dims: Dims, arithmetic: Arithmetic) -> int:
    """Return the most memory that a tape's activations take at once, in bytes, when no layer is worked on in pieces.

    The widest moment is in the strided convolutions: a layer's input, its windows laid side by side, and its output.
    """
    values, width, frames = 0, 1, dims.stride  # values and frames on one frame of the whole network (20 ms)
    for layer in dims.convolutions:
        fewer = frames // layer.stride
        values = max(values, frames * width + fewer * (layer.kernel * width + layer.channels))
        width, frames = layer.channels, fewer
    return _BYTES[arithmetic] * values * tokens

"""What the machine has decides how the engine runs: pure arithmetic over a `Machine` record."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from emotape.model.dims import Dims

# On a CPU a longer tape is hardly faster per second of audio, but it holds more activations at once. 32 s of frames
# takes any one window (30 s) whole.
_CPU_TAPE_TOKENS: Final = 1_620
_QUEUE_SECONDS_PER_CORE: Final = 1_800.0
# Below this the time goes into the calls, not into the products that bf16 makes faster.
_LARGE: Final = 20_000_000
# The rest of a card's free memory is lost to rounding, to the libraries' workspaces and to what others take meanwhile.
_USABLE: Final = 0.9
_MANY_CORES: Final = 4
_MOST_PROCESSES: Final = 32
_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "float8": 2}  # float8: outside the blocks

Arithmetic = Literal["float32", "bfloat16", "float16", "int8", "float8"]


@dataclass(frozen=True)
class Accelerator:
    """A device beside the processor by its torch name; its memory in bytes, free and in all, where torch knows."""

    name: str
    free: int | None = None
    total: int | None = None

    @property
    def is_card(self) -> bool:
        """Whether it is a graphics card that runs recorded tapes of fixed sizes."""
        return self.name.startswith("cuda")


@dataclass(frozen=True)
class Machine:
    """What there is: processor cores that this process may use, and accelerators.

    `bfloat16` says whether the processor multiplies in bf16 itself, which is then twice as fast as fp32.
    """

    cores: int
    bfloat16: bool = False
    accelerators: tuple[Accelerator, ...] = ()


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

    compute_threads  threads of the network's matrix products
    decode_threads   recordings decoded at once; decoding overlaps with the network
    decode_processes processes that decode for these threads at most; 0: the threads decode themselves
    tape_tokens      most tokens on one tape
    queue_seconds    seconds of audio that may wait before callers are refused
    devices          where the network runs, one runner each
    arithmetic       what the network calculates in, if it then agrees with fp32
    offload          for each accelerator, which weights stay off it
    """

    compute_threads: int
    decode_threads: int
    tape_tokens: int
    queue_seconds: float
    devices: tuple[str, ...]
    arithmetic: Arithmetic
    offload: tuple[Offload, ...] = ()
    decode_processes: int = 0

    def host_blocks(self, device: str) -> int:
        """Return how many blocks leave their weights off `device`."""
        return sum(each.blocks for each in self.offload if each.device == device)


def look_at_machine(*, bfloat16: bool, accelerators: tuple[Accelerator, ...]) -> Machine:
    """Count the cores that this process may use; what torch knows of processor and accelerators is handed in."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores=available, bfloat16=bfloat16, accelerators=accelerators)


def plan(machine: Machine, parameters: int) -> Plan:
    """Decide how to run a network of `parameters` on `machine`."""
    return Plan(
        compute_threads=machine.cores,
        decode_threads=max(1, min(8, machine.cores)),
        decode_processes=_decode_processes(machine),
        tape_tokens=_CPU_TAPE_TOKENS,
        queue_seconds=_QUEUE_SECONDS_PER_CORE * machine.cores,
        devices=tuple(accelerator.name for accelerator in machine.accelerators) or ("cpu",),
        arithmetic=_arithmetic(machine, parameters),
    )


def _arithmetic(machine: Machine, parameters: int) -> Arithmetic:
    """Decide what to calculate in where it pays: halves.

    A graphics card multiplies in both kinds of halves at one rate, and this network's values stay within the range of
    the finer one. A processor has only the coarser one, if any.
    """
    if parameters < _LARGE:
        return "float32"
    if machine.accelerators:
        return "float16" if all(each.is_card for each in machine.accelerators) else "float32"
    return "bfloat16" if machine.bfloat16 else "float32"


def _decode_processes(machine: Machine) -> int:
    """Decide how many processes may decode.

    One core decodes some 700 seconds of speech a second. An accelerator takes more than ten times that, and its own
    thread must not wait for the interpreter's lock behind decoding ones. Without one, processes are worth their memory
    where there are cores beside the network's; two cores are busy with the network.
    """
    if machine.accelerators:
        return min(_MOST_PROCESSES, machine.cores)
    return min(8, machine.cores) if machine.cores >= _MANY_CORES else 0


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

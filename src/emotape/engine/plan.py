"""What the machine has decides how the engine runs: pure arithmetic over a `Machine` record."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

# On a CPU a longer tape is hardly faster per second of audio, but it holds more activations at once. 32 s of frames
# takes any one window (30 s) whole.
_CPU_TAPE_TOKENS: Final = 1_620
_QUEUE_SECONDS_PER_CORE: Final = 1_800.0
# Below this the time goes into the calls, not into the products that bf16 makes faster.
_LARGE: Final = 20_000_000

Arithmetic = Literal["float32", "bfloat16", "float16", "int8"]


@dataclass(frozen=True)
class Machine:
    """What there is: processor cores that this process may use, and accelerators by their torch names.

    `bfloat16` says whether the processor multiplies in bf16 itself, which is then twice as fast as fp32.
    """

    cores: int
    bfloat16: bool = False
    accelerators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How the engine runs.

    compute_threads  threads of the network's matrix products
    decode_threads   recordings decoded at once; decoding overlaps with the network
    tape_tokens      most tokens on one tape
    queue_seconds    seconds of audio that may wait before callers are refused
    devices          where the network runs, one runner each
    arithmetic       what the network calculates in, if it then agrees with fp32
    """

    compute_threads: int
    decode_threads: int
    tape_tokens: int
    queue_seconds: float
    devices: tuple[str, ...]
    arithmetic: Arithmetic


def look_at_machine(*, bfloat16: bool, accelerators: tuple[str, ...]) -> Machine:
    """Count the cores that this process may use; what torch knows of processor and accelerators is handed in."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores=available, bfloat16=bfloat16, accelerators=accelerators)


def plan(machine: Machine, parameters: int) -> Plan:
    """Decide how to run a network of `parameters` on `machine`."""
    worthwhile = machine.bfloat16 and parameters >= _LARGE and not machine.accelerators
    return Plan(
        compute_threads=machine.cores,
        decode_threads=max(1, min(8, machine.cores)),
        tape_tokens=_CPU_TAPE_TOKENS,
        queue_seconds=_QUEUE_SECONDS_PER_CORE * machine.cores,
        devices=machine.accelerators or ("cpu",),
        arithmetic="bfloat16" if worthwhile else "float32",
    )

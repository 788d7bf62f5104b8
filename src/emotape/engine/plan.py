"""What the machine has decides how the engine runs: pure arithmetic over a `Machine` record."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

# On a CPU a longer tape is hardly faster per second of audio, but it holds more activations at once. 32 s of frames
# takes any one window (30 s) whole.
_CPU_TAPE_TOKENS: Final = 1_620
_QUEUE_SECONDS_PER_CORE: Final = 1_800.0


@dataclass(frozen=True)
class Machine:
    """What there is: processor cores that this process may use, and accelerators by their torch names."""

    cores: int
    accelerators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How the engine runs.

    compute_threads  threads of the network's matrix products
    decode_threads   recordings decoded at once; decoding overlaps with the network
    tape_tokens      most tokens on one tape
    queue_seconds    seconds of audio that may wait before callers are refused
    devices          where the network runs, one runner each
    """

    compute_threads: int
    decode_threads: int
    tape_tokens: int
    queue_seconds: float
    devices: tuple[str, ...]


def look_at_machine() -> Machine:
    """Look at the cores that this process may use. Accelerators are named by whoever asks for them."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cores=available)


def plan(machine: Machine) -> Plan:
    """Decide how to run on `machine`."""
    return Plan(
        compute_threads=machine.cores,
        decode_threads=max(1, min(8, machine.cores)),
        tape_tokens=_CPU_TAPE_TOKENS,
        queue_seconds=_QUEUE_SECONDS_PER_CORE * machine.cores,
        devices=machine.accelerators or ("cpu",),
    )

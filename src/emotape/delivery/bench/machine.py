"""The machine that a benchmark ran on, and how busy it was: figures without it mean nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_WORTH_NAMING: Final = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
    "sve",
)
_PACKAGES: Final = ("torch", "numpy", "av", "soxr", "funasr", "librosa")


@dataclass(frozen=True)
class Machine:
    """Processor, cores that may be used, instruction sets for matrix products, memory in bytes, and software."""

    processor: str
    cores: int
    instruction_sets: tuple[str, ...]
    memory: int | None
    system: str
    python: str
    packages: dict[str, str]


def look() -> Machine:
    """Look at this machine."""
    facts = _processor_facts()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return Machine(
        processor=facts.get("model name") or platform.processor() or platform.machine(),
        cores=cores(),
        instruction_sets=tuple(name for name in _WORTH_NAMING if name in flags),
        memory=_memory(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_packages(),
    )


def cores() -> int:
    """Return the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_average() -> tuple[float, float, float] | None:
    """Return how many processes wanted to run in the last 1, 5 and 15 minutes; None where the system does not say."""
    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return None


def _processor_facts() -> dict[str, str]:
    """Return what Linux says of its first core."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", maxsplit=1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

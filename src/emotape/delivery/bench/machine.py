"""The machine that a benchmark ran on, and how busy it was: figures without it mean nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from emotape.engine.machine import instruction_sets, look_at_machine, processor_name

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
    return Machine(
        processor=processor_name(),
        cores=cores(),
        instruction_sets=instruction_sets(),
        memory=_memory(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages=_packages(),
    )


def cores() -> int:
    """Return how many threads can run at once in this process."""
    return look_at_machine().running


def load_average() -> tuple[float, float, float] | None:
    """Return how many processes wanted to run in the last 1, 5 and 15 minutes; None where the system does not say."""
    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return None


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

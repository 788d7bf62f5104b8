"""Looks at the machine: what there is for `plan`. The only place that asks the system, and the last that asks torch.

Linux describes itself in files; `root` is where they are, so that a recorded machine can be read like this one.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Final

from emotape.engine.control_group import ControlGroup
from emotape.engine.plan import Accelerator, Machine, alike
from emotape.errors import EngineFault, Phrase

_ROOT: Final = Path("/")
_INSTRUCTION_SETS: Final = (
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


def look_at_machine(
    *, bfloat16: bool = False, accelerators: tuple[Accelerator, ...] = (), root: Path = _ROOT
) -> Machine:
    """Return what this process may use; what torch knows of processor and accelerators is handed in.

    Nothing is raised: what the system does not tell is None.
    """
    group = ControlGroup.of_this_process(root / "sys/fs/cgroup", root / "proc/self/cgroup")
    memory, free = _memory(root, group)
    allowed = _allowed(root)
    return Machine(
        cores=len(allowed) or os.cpu_count() or 1,
        bfloat16=bfloat16,
        accelerators=accelerators,
        physical=_physical(root, allowed),
        quota=group.cores(),
        memory=memory,
        memory_free=free,
        swap=meminfo(root).get("SwapTotal"),
        instruction_sets=instruction_sets(root),
    )


def processor_name(root: Path = _ROOT) -> str:
    """Return what the processor calls itself."""
    return _processor_facts(root).get("model name") or platform.processor() or platform.machine()


def instruction_sets(root: Path = _ROOT) -> tuple[str, ...]:
    """Return the processor's instruction sets that matter for products of matrices."""
    facts = _processor_facts(root)
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    return tuple(name for name in _INSTRUCTION_SETS if name in flags)


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products in bf16, rather than emulating them. Imports torch."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001 - no public name


def accelerators(device: str) -> tuple[Accelerator, ...]:
    """Return the accelerators that `device` means: none for "cpu", all cards worth using for "auto". Imports torch.

    A card that does nothing here, as it is too old for this build of torch, or full, counts for "auto" as none. Raises
    EngineFault `device_unavailable` for one that was named.
    """
    if device == "auto":
        return alike(tuple(_described(name) for name in _cards() if _trouble(name) is None))
    if not _is_name(device):
        here = Phrase("device_names", devices=", ".join(("cpu", *_cards())))
        raise EngineFault("device_unavailable", device=device, reason=here)
    if (reason := _trouble(device)) is not None:
        raise EngineFault("device_unavailable", device=device, reason=reason)
    return () if device == "cpu" else (_described(device),)


def _cards() -> list[str]:
    """Return the names of all graphics cards, whatever they are worth."""
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def _is_name(device: str) -> bool:
    """Say whether torch takes a text as the name of a device, be there one or not."""
    import torch

    try:
        torch.device(device)
    except RuntimeError:
        return False
    return True


def _trouble(device: str) -> str | None:
    """Return why a device does nothing; None if it works. Torch lists cards that it has no kernels for, too."""
    import torch

    try:
        torch.ones(1, device=device)  # a kernel of its own, unlike an empty tensor
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def _described(device: str) -> Accelerator:
    """Say what torch knows of a device; its memory and its build are known of graphics cards alone."""
    import torch

    if torch.device(device).type != "cuda":
        return Accelerator(device)
    free, total = torch.cuda.mem_get_info(device)
    about = torch.cuda.get_device_properties(device)
    return Accelerator(device, free, total, about.name, (about.major, about.minor), about.multi_processor_count)


def _allowed(root: Path) -> tuple[int, ...]:
    """Return the numbers of the processors that this process may run on."""
    for line in lines_of(root / "proc/self/status"):
        name, _, value = line.partition(":")
        if name == "Cpus_allowed_list":
            return _numbers(value.strip())
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def _numbers(ranges: str) -> tuple[int, ...]:
    """Return the numbers in a list such as 0-3,8."""
    found: list[int] = []
    with suppress(ValueError):
        for part in filter(None, ranges.split(",")):
            first, _, last = part.partition("-")
            found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def _physical(root: Path, allowed: tuple[int, ...]) -> int | None:
    """Return how many cores the processors are: two of them may be one core's threads."""
    folder = root / "sys/devices/system/cpu"
    cores = {"".join(lines_of(folder / f"cpu{number}/topology/thread_siblings_list")) for number in allowed}
    return len(cores) if cores and "" not in cores else None


def _memory(root: Path, group: ControlGroup) -> tuple[int | None, int | None]:
    """Return the bytes that there are and that are free: the machine's, or its control group's if that has less."""
    known = meminfo(root)
    total, free = known.get("MemTotal"), known.get("MemAvailable")
    if total is None and root == _ROOT:
        with suppress(AttributeError, ValueError, OSError):
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = group.memory()
    if limit is None or (total is not None and limit[1] >= total):
        return total, free
    left = max(0, limit[1] - limit[0])
    return limit[1], left if free is None else min(left, free)


def meminfo(root: Path) -> dict[str, int]:
    """Return what Linux counts, in bytes."""
    pairs = (line.split() for line in lines_of(root / "proc/meminfo"))
    return {parts[0].rstrip(":"): 1024 * int(parts[1]) for parts in pairs if len(parts) > 1 and parts[1].isdigit()}


def _processor_facts(root: Path) -> dict[str, str]:
    """Return what Linux says of its first core."""
    facts = {}
    for line in lines_of(root / "proc/cpuinfo"):
        name, colon, value = line.partition(":")
        if not colon:
            break
        facts[name.strip()] = value.strip()
    return facts


def lines_of(file: Path) -> list[str]:
    """Return the lines of a system's file; none where it cannot be read."""
    with suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    return []

"""What a fact about the machine means for emotape: pure rules, each with the command that mends what is amiss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Level = Literal["green", "amber", "red"]

_GB: Final = 1e9
_MB: Final = 1e6
_TIGHT_DISK: Final = 2e9
_FULL_DISK: Final = 200e6
_FEW_FILES: Final = 1024
_TOO_FEW_FILES: Final = 256
_FEW_IN_ALL: Final = 65_536
_EAGER: Final = 60  # swappiness that the kernel begins with
_SWAPPED: Final = 256e6


@dataclass(frozen=True)
class Finding:
    """One line: what was checked, how it stands, the code of its text in wording/doctor.toml, and what fills it.

    `cure` is a command to copy; empty where nothing is amiss.
    """

    check: str
    level: Level
    code: str
    facts: Mapping[str, object] = field(default_factory=dict)
    cure: str = ""


@dataclass(frozen=True)
class TorchFacts:
    """torch's version, the CUDA that it was built for, whether that works, and NVIDIA's driver on this machine."""

    version: str
    built_for: str | None = None
    works: bool = False
    driver: str | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes: what there is and is free, the swap and what is used of it; `needed` is what the plan expects to take.

    `limit` is a container's and None without one.
    """

    total: int
    free: int
    needed: int
    swap: int = 0
    swap_used: int = 0
    swappiness: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Process:
    """A process of somebody's, and the bytes that it holds."""

    pid: int
    name: str
    resident: int


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 when all is well, 1 when something should be looked at, 2 when something does not work."""
    levels = {finding.level for finding in findings}
    return 2 if "red" in levels else 1 if "amber" in levels else 0


def decoding(outcomes: Mapping[str, str | None]) -> Finding:
    """Judge decoding; `outcomes` has for every format what went wrong, or None."""
    broken = {name: reason for name, reason in outcomes.items() if reason is not None}
    if not broken:
        return Finding("decoder", "green", "decoder_fine", {"formats": ", ".join(outcomes)})
    facts = {"formats": ", ".join(broken), "reason": next(iter(broken.values()))}
    level: Level = "red" if len(broken) == len(outcomes) else "amber"
    return Finding("decoder", level, "decoder_broken", facts, "pip install --force-reinstall av soxr soundfile")


def torch_build(found: TorchFacts) -> Finding:
    """Judge torch beside the driver: a card that torch cannot use is the usual disappointment."""
    facts = {"version": found.version, "driver": found.driver or "–", "cuda": found.built_for or "–"}
    if found.works:
        return Finding("torch", "green", "torch_card", facts)
    if found.driver is None:
        return Finding("torch", "green", "torch_processor", facts)
    if found.built_for is None:
        cure = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu126"
        return Finding("torch", "amber", "torch_without_cuda", facts, cure)
    return Finding("torch", "amber", "torch_driver", facts, "nvidia-smi")


def models(problems: Mapping[str, str | None], default: str) -> tuple[Finding, ...]:
    """Judge models by what is wrong with each, None where it is whole; `default` is the one in use."""
    whole = [name for name, problem in problems.items() if problem is None]
    found = [
        Finding(
            "model",
            "red" if name == default else "amber",
            "model_damaged",
            {"model": name, "reason": problem},
            f"emotape models verify {name}",
        )
        for name, problem in problems.items()
        if problem is not None
    ]
    fine = (Finding("model", "green", "model_whole", {"models": ", ".join(whole)}),) if whole else ()
    return (*fine, *found)


def port(number: int, *, free: bool, other: int) -> Finding:
    """Judge the port that a server would take; `other` is one to take instead."""
    if free:
        return Finding("port", "green", "port_free", {"port": number})
    return Finding("port", "amber", "port_busy", {"port": number}, f"emotape serve --port {other}")


def disk(folder: str, free: int) -> Finding:
    """Judge the room in a folder that is written to."""
    facts = {"folder": folder, "free": free / _GB}
    if free >= _TIGHT_DISK:
        return Finding("disk", "green", "disk_fine", facts)
    level: Level = "red" if free < _FULL_DISK else "amber"
    return Finding("disk", level, "disk_full", facts, f"du -xh '{folder}' | sort -h | tail -n 20")


def cache_folder(folder: str, problem: str | None) -> Finding:
    """Judge the folder in which emotape notes what it has found out; without it every start takes longer."""
    if problem is None:
        return Finding("cache", "green", "cache_fine", {"folder": folder})
    cure = f"mkdir -p '{folder}' && chmod u+rwx '{folder}'"
    return Finding("cache", "amber", "cache_closed", {"folder": folder, "reason": problem}, cure)


def redis(place: str | None, problem: str | None) -> Finding:
    """Judge the Redis that the settings name; `place` is its host and port, None where none is named."""
    if place is None:
        return Finding("redis", "green", "redis_none")
    if problem is None:
        return Finding("redis", "green", "redis_answers", {"place": place})
    host, _, number = place.rpartition(":")
    cure = f"redis-cli -h {host} -p {number} ping"
    return Finding("redis", "red", "redis_silent", {"place": place, "reason": problem}, cure)


def database(place: str | None, problem: str | None) -> Finding:
    """Judge the PostgreSQL that the settings name; `place` is its host, port and name, None where none is named."""
    if place is None:
        return Finding("database", "green", "database_none")
    if problem is None:
        return Finding("database", "green", "database_answers", {"place": place})
    host, _, number = place.partition("/")[0].rpartition(":")
    cure = f"pg_isready -h {host} -p {number}" if host else "emotape settings"
    return Finding("database", "red", "database_silent", {"place": place, "reason": problem}, cure)


def limits(quota: float | None, cores: int, memory: Memory) -> tuple[Finding, ...]:
    """Judge a container's limits."""
    if quota is None and memory.limit is None:
        return (Finding("limits", "green", "limits_none", {"cores": cores}),)
    facts = {
        "quota": f"{quota:g}" if quota else cores,
        "cores": cores,
        "limit": (memory.limit or memory.total) / _GB,
        "needed": memory.needed / _GB,
    }
    if memory.limit is not None and memory.limit < memory.needed:
        cure = f"docker update --memory {round(1.3 * memory.needed / _MB)}m CONTAINER"
        return (Finding("limits", "red", "limits_tight", facts, cure),)
    return (Finding("limits", "green", "limits_fine", facts),)


def free_memory(memory: Memory, hogs: tuple[Process, ...]) -> Finding:
    """Judge what is free; where it is too little, name who holds the most."""
    facts: dict[str, Any] = {
        "free": memory.free / _GB,
        "needed": memory.needed / _GB,
        "hogs": ", ".join(f"{hog.name} ({hog.pid}) {hog.resident / _GB:.1f} GB" for hog in hogs) or "–",
    }
    if memory.free >= memory.needed:
        return Finding("memory", "green", "memory_fine", facts)
    cure = f"ps -o pid,rss,args -p {','.join(str(hog.pid) for hog in hogs)}" if hogs else "ps aux --sort=-rss | head"
    return Finding("memory", "red" if memory.total < memory.needed else "amber", "memory_short", facts, cure)


def swapping(memory: Memory) -> Finding:
    """Judge swap: in use it slows every request; without any, the kernel kills whoever asks when memory is gone."""
    facts = {"swap": memory.swap / _GB, "used": memory.swap_used / _MB, "swappiness": memory.swappiness}
    if not memory.swap:
        tight = memory.free < 1.5 * memory.needed
        made = "sudo fallocate -l 4G /swapfile && sudo chmod 600 /swapfile"
        cure = f"{made} && sudo mkswap /swapfile && sudo swapon /swapfile"
        return (
            Finding("swap", "amber", "swap_none", facts, cure) if tight else Finding("swap", "green", "swap_unneeded")
        )
    if memory.swappiness is not None and memory.swappiness > _EAGER:
        return Finding("swap", "amber", "swap_eager", facts, "sudo sysctl vm.swappiness=10")
    if memory.swap_used > _SWAPPED:
        return Finding("swap", "amber", "swap_used", facts, "vmstat 1 5")
    return Finding("swap", "green", "swap_fine", facts)


def open_files(own: int | None, machine: int | None) -> Finding:
    """Judge how many files this process and the whole machine may open; None where the system does not say."""
    facts = {"own": own if own is not None else "–", "machine": machine if machine is not None else "–"}
    if own is not None and own < _FEW_FILES:
        return Finding("files", "red" if own < _TOO_FEW_FILES else "amber", "files_few", facts, "ulimit -n 4096")
    if machine is not None and machine < _FEW_IN_ALL:
        return Finding("files", "amber", "files_few_in_all", facts, "sudo sysctl fs.file-max=1048576")
    return Finding("files", "green", "files_fine", facts)


def workers(wanted: int, *, started: bool) -> Finding:
    """Judge whether processes that decode can be started, where the plan wants `wanted`."""
    if started:
        return Finding("workers", "green", "workers_start", {"count": wanted})
    return Finding(
        "workers", "amber", "workers_refused", {"count": wanted}, "ulimit -u; export EMOTAPE_DECODE_PROCESSES=0"
    )

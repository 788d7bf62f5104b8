"""The limits that a container or a service manager put on this process: Linux control groups, version 2 and 1."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
UNLIMITED: Final = 1 << 60  # version 1 writes "no limit" as a number near 2^63


@dataclass(frozen=True)
class ControlGroup:
    """A group's folder and those above it, the nearest first; none where there are no groups.

    `processor` are the folders that bound the processor's time, where version 1 keeps them elsewhere.
    """

    folders: tuple[Path, ...]
    processor: tuple[Path, ...] = ()

    @classmethod
    def of_this_process(cls, root: Path = _ROOT, membership: Path = Path("/proc/self/cgroup")) -> ControlGroup:
        """Find the group that this process belongs to."""
        groups = _groups(membership)
        return cls(_folders(root, groups), _processor_folders(root, groups))

    def memory(self) -> tuple[int, int] | None:
        """Return bytes in use and their limit, of the tightest group; None without a limit."""
        limits = [(limit, folder) for folder in self.folders if (limit := _limit(folder)) is not None]
        if not limits:
            return None
        limit, folder = min(limits)
        return used_bytes(folder) or 0, limit

    def cores(self) -> float | None:
        """Return how many cores' time the group may use; None without a quota."""
        found = [_quota(folder) for folder in self.folders] + [_first_quota(folder) for folder in self.processor]
        return min((quota for quota in found if quota is not None), default=None)

    def cpu_seconds(self) -> float | None:
        """Return the seconds of processor time that the group has used."""
        for folder in self.folders[:1]:
            found = _line(folder / "cpu.stat", "usage_usec")
            return None if found is None else found / 1e6
        return None


def _groups(membership: Path) -> list[list[str]]:
    """Return number, controllers and path of every hierarchy."""
    try:
        told = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.split(":", 2) for line in told if line.count(":") > 1]


def _folders(root: Path, groups: list[list[str]]) -> tuple[Path, ...]:
    unified = [_upwards(root, path, "memory.current") for number, _, path in groups if number == "0"]
    memory = [
        _upwards(root / "memory", path, "memory.limit_in_bytes")
        for _, controllers, path in groups
        if "memory" in controllers.split(",")
    ]
    return next(filter(None, unified + memory), ())


def _processor_folders(root: Path, groups: list[list[str]]) -> tuple[Path, ...]:
    """Return where version 1 bounds the processor's time; the folder is named after all controllers of a hierarchy."""
    found = [
        _upwards(root / name, path, "cpu.cfs_quota_us")
        for _, controllers, path in groups
        if "cpu" in controllers.split(",")
        for name in (controllers, "cpu")
    ]
    return next(filter(None, found), ())


def _upwards(root: Path, path: str, file: str) -> tuple[Path, ...]:
    """Return the folders from a group up to `root` that have `file`; inside a container it may be `root`."""
    own = root / path.lstrip("/")
    return tuple(folder for folder in (own, *own.parents) if folder.is_relative_to(root) and (folder / file).exists())


def _limit(folder: Path) -> int | None:
    found = number(folder / "memory.max") or number(folder / "memory.limit_in_bytes")
    return found if found and found < UNLIMITED else None


def _quota(folder: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    return None


def _first_quota(folder: Path) -> float | None:
    quota, period = number(folder / "cpu.cfs_quota_us"), number(folder / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def used_bytes(folder: Path) -> int | None:
    """Return the bytes that a group uses; None where it does not say.

    Pages of files that were not used lately are not counted: the system drops them when memory is short.
    """
    found = number(folder / "memory.current") or number(folder / "memory.usage_in_bytes")
    if found is None:
        return None
    statistics = folder / "memory.stat"
    inactive = _line(statistics, "total_inactive_file") or _line(statistics, "inactive_file") or 0
    return max(0, found - inactive)


def number(file: Path) -> int | None:
    """Return the number in a file; None if there is none, or it says "max"."""
    with suppress(OSError, ValueError):
        return int(file.read_text(encoding="ascii"))
    return None


def _line(file: Path, name: str) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return None

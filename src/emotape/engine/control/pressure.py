"""Reads how much memory is left: in this process's control group (Linux, version 2 and 1), else in the machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emotape.engine.control.memory import MemoryReading
from emotape.engine.control_group import UNLIMITED, ControlGroup, number, used_bytes
from emotape.engine.machine import meminfo

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path("/")


class MemoryWatch:
    """Looks at memory whenever it is asked; cheap enough for once a second. `root` is where the system's files are."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._group = ControlGroup.of_this_process(root / "sys/fs/cgroup", root / "proc/self/cgroup")

    def __call__(self) -> MemoryReading | None:
        """Return the reading that leaves least; None where the system tells nothing."""
        group = self._of_group()
        readings = [each for each in (group, self._of_machine(alone=group is None)) if each is not None]
        tightest = max(readings, key=lambda each: each.used / each.limit, default=None)
        if tightest is None:
            return None
        return MemoryReading(tightest.used, tightest.limit, max(each.stalled for each in readings))

    def _of_group(self) -> MemoryReading | None:
        """Read the group that leaves least, of this process's own and those above it."""
        folders = self._group.folders
        found = [(used, limit) for folder in folders for used, limit in _use(folder)]
        if not found:
            return None
        used, limit = max(found, key=lambda each: each[0] / each[1])
        return MemoryReading(used, limit, max(_stalled(folder / "memory.pressure") for folder in folders))

    def _of_machine(self, *, alone: bool) -> MemoryReading | None:
        """Read the machine; in a group, its stalls are mostly other people's."""
        known = _counted(self._root) or (_psutil() if self._root == _ROOT else None)
        if known is None:
            return None
        total, available = known
        stalled = _stalled(self._root / "proc/pressure/memory") if alone else 0.0
        return MemoryReading(total - available, total, stalled)


def _use(folder: Path) -> Iterator[tuple[int, int]]:
    """Give the bytes in use and their limit, if a group has one.

    The kernel holds a group up at `memory.high`, before it kills at `memory.max`.
    """
    limits = [number(folder / name) for name in ("memory.high", "memory.max", "memory.limit_in_bytes")]
    known = [limit for limit in limits if limit and limit < UNLIMITED]
    found = used_bytes(folder)
    if known and found is not None:
        yield found, min(known)


def _counted(root: Path) -> tuple[int, int] | None:
    """Return the bytes of memory, and those available, as Linux counts."""
    known = meminfo(root)
    total, available = known.get("MemTotal"), known.get("MemAvailable")
    return None if total is None or available is None else (total, available)


def _psutil() -> tuple[int, int] | None:
    """Return the same from psutil, which knows other systems, if it is here."""
    try:
        import psutil
    except ImportError:
        return None
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _stalled(file: Path) -> float:
    """Return the percentage of the last 10 seconds in which some process stood still for memory."""
    with suppress(OSError, ValueError, IndexError):
        for line in file.read_text(encoding="ascii").splitlines():
            if line.startswith("some "):
                return float(line.split("avg10=", 1)[1].split()[0])
    return 0.0

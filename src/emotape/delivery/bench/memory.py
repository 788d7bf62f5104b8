"""Resident memory of this process or another one, as Linux counts it; other systems are not asked, and None says so."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def resident_bytes(process: int | None = None) -> int | None:
    """Return what is resident now: the program's own memory and the pages of mapped files that it has touched."""
    return _status("VmRSS", process)


def anonymous_bytes() -> int | None:
    """Return the part of it that no file backs, which the system cannot drop."""
    return _status("RssAnon")


def peak_bytes() -> int | None:
    """Return the most that was resident since the start or the last `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let the peak count from now, where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(name: str, process: int | None = None) -> int | None:
    """Return a line of a process's status in bytes; it is given in KiB."""
    with suppress(OSError):
        for line in (
            Path(f"/proc/{process or 'self'}/status").read_text(encoding="ascii", errors="replace").splitlines()
        ):
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None

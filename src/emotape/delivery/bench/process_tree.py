"""What all processes that a benchmark started take of the cores."""

from __future__ import annotations

import time
from contextlib import suppress


def processor_seconds() -> float:
    """Return the processor time of this process and of all that came of it and still run: a whole cluster."""
    import psutil

    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system
    return total


def busy_cores(seconds: float) -> float:
    """Return how many cores are busy while nothing is asked for, watched for so many seconds."""
    before = processor_seconds()
    time.sleep(seconds)
    return round((processor_seconds() - before) / seconds, 3)

"""What all processes that a benchmark started take of the cores."""

from __future__ import annotations

import time
from contextlib import suppress


class ProcessTree:
    """This process and all that came of it: a whole cluster. An ended one keeps what it had used when last seen."""

    def __init__(self) -> None:
        self._used: dict[tuple[int, float], float] = {}  # by number and start, as numbers come again

    def processor_seconds(self) -> float:
        """Look at all processes, and return the processor time of all that were ever seen."""
        import psutil

        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                used = process.cpu_times()
                self._used[process.pid, process.create_time()] = used.user + used.system
        return sum(self._used.values())

    def busy_cores(self, seconds: float) -> float:
        """Return how many cores are busy while nothing is asked for, watched for so many seconds."""
        before = self.processor_seconds()
        time.sleep(seconds)
        return round((self.processor_seconds() - before) / seconds, 3)

"""Servers in processes of their own, for the time of a benchmark."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Final

from emotape.delivery.bench import clients, memory
from emotape.errors import EngineFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from emotape.delivery.bench.clients import Dialect

_FAREWELL: Final = 30.0  # seconds that a server has to leave


@dataclass(frozen=True)
class Server:
    """A server that takes requests: its name in the tables, its address, how it is spoken to, its process."""

    name: str
    url: str
    dialect: Dialect
    process: int

    def resident_bytes(self) -> int | None:
        """Return the memory of its process now."""
        return memory.resident_bytes(self.process)


@contextmanager
def ours(directory: Path, threads: int, *options: str) -> Iterator[Server]:
    """Start `emotape serve` without a cache, so that every request is work. Raises EngineFault `bench_process`."""
    command = ["-m", "emotape", "serve", "--port", "0", "--model", str(directory), *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMOTAPE_")}
    own = {"EMOTAPE_THREADS": str(threads), "EMOTAPE_CACHE_MEGABYTES": "0", "EMOTAPE_LANGUAGE": "en"}
    with (
        tempfile.TemporaryDirectory(prefix="emotape-bench-") as folder,
        _running("emotape", command, kept | own | {"XDG_DATA_HOME": folder}) as (url, process),
    ):
        yield Server("emotape", url, clients.emotape, process)


@contextmanager
def peer(kind: str, official: Path, threads: int) -> Iterator[Server]:
    """Start one of the servers of `peer_server`. Raises EngineFault `bench_process`."""
    command = ["-m", "emotape.delivery.bench.peer_server", kind, str(official), str(threads)]
    dialect = {"handler": clients.handler, "gradio": clients.gradio}[kind]
    with _running(kind, command, dict(os.environ)) as (url, process):
        yield Server(f"FunASR, {kind}", url, dialect, process)


@contextmanager
def _running(name: str, arguments: Sequence[str], environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Start a process, wait until it says where it is ready, and end it afterwards."""
    with subprocess.Popen(  # noqa: S603 - this interpreter, with our own code
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        last = ""
        for line in process.stdout:
            last = line.strip() or last
            found = re.search(r"ready: (http://\S+)", line)
            if found:
                Thread(target=deque, args=(process.stdout, 0), daemon=True).start()  # a full pipe would stop it
                try:
                    yield found[1].rstrip("/"), process.pid
                finally:
                    _end(process)
                return
        raise EngineFault("bench_process", what=name, status=process.wait(), reason=last)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_FAREWELL)
    except subprocess.TimeoutExpired:
        process.kill()

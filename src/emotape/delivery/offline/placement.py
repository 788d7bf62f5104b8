"""Where the workers of a batch run: on which Ray cluster, how many of them, and with how much of its machines."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import ray

from emotape.delivery.joining import joined
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emotape.recognizer import RecognizerOptions

_CORES: Final = 4  # of a worker without a card, if there are so many: more are better used by another one
_STORE_BYTES: Final = 512 * 1024**2  # of Ray's memory, where we start Ray; chunks and rows are small


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and the processors and graphics cards of each."""

    count: int
    processors: int
    cards: int


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Join the cluster at `address`, or with "local" start one on this machine; one that is joined already stays.

    Raises BadRequest ("batch_ray_unreachable").
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its files have the rest; this is our own process
    with joined(address, "batch_ray_unreachable", object_store_memory=_STORE_BYTES):
        yield


def workers_for(count: int | None, processors: int | None) -> Workers:
    """Return one worker for each graphics card of the cluster, or without any, as many as its processors allow.

    Raises BadRequest ("batch_ray_no_room") where the cluster has not what one worker is given.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call] # Ray's own
    shares = [node.get("CPU", 0) / node["GPU"] for node in nodes if node.get("GPU")]
    if shares:
        cards = int(sum(node.get("GPU", 0) for node in nodes))
        return Workers(count or cards, processors or max(1, int(min(shares))), 1)
    cores = [int(node.get("CPU", 0)) for node in nodes]
    each = processors or max(1, min(_CORES, max(cores, default=0)))
    places = sum(cpu // each for cpu in cores)
    if not places:
        raise BadRequest("batch_ray_no_room", processors=each, cores=max(cores, default=0))
    return Workers(count or places, each, 0)


def options_on(workers: Workers, options: RecognizerOptions) -> RecognizerOptions:
    """Return the options of a worker that shares its machine: it takes the processors it is given, and no more."""
    engine = options.engine
    processes = engine.decode_processes
    if processes is None:
        processes = workers.processors if workers.cards or workers.processors >= _CORES else 0
    threads = engine.compute_threads or workers.processors
    decoders = engine.decode_threads or max(1, min(8, workers.processors))
    shared = replace(engine, compute_threads=threads, decode_processes=processes, decode_threads=decoders)
    return replace(options, engine=shared, adapt=False, idle_unload_seconds=None)

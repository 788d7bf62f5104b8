"""`emotape bench throughput`: how much a resident recognizer answers when many ask at once, and in how much memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.bench import memory, speech
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.peers import recognizer_of
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emotape.recognizer import Recognizer, Source

_SETTLED: Final = 200
"""Requests after which memory is taken to have its level."""
_SOAK_CLIENTS: Final = 8
_POINTS: Final = 50

Row = dict[str, str | int | float | Spread | None]


@dataclass(frozen=True)
class ThroughputOptions:
    """How many clients, how many requests among them, and how often; `soak` requests for the memory, or none."""

    choice: Choice = field(default_factory=Choice)
    clients: tuple[int, ...] = (1, 4, 16, 64)
    requests: int = 128
    runs: int = 3
    threads: int | None = None
    dtype: str = "auto"
    longest: float = 15.0
    soak: int = 0


def measure(options: ThroughputOptions, tell: Callable[[str], None]) -> Findings:
    """Let every number of clients ask for the same clips, in turns. Raises ModelFault and EngineFault."""
    with (
        subject(options.choice, official=False) as model,
        recognizer_of(model.directory, options.dtype, options.threads) as recognizer,
    ):
        timed = _at_once(recognizer, options, tell)
        soaked = _soak(recognizer, options, tell) if options.soak else ()
        arithmetic = recognizer.recognize(speech.clip(1.0)).provenance.dtype
    asked = {name: value for name, value in vars(options).items() if name != "choice"}
    facts: dict[str, object] = model.facts() | asked | {"arithmetic": arithmetic}
    return _findings(timed, soaked, facts, options)


def ask(
    recognizer: Recognizer, clips: Sequence[Source], clients: int, besides: Callable[[], None] = lambda: None
) -> list[float]:
    """Let `clients` threads ask for all clips, each the next when it has its answer; return the seconds each took.

    `besides` is what a client does for each clip besides waiting.
    """

    def one(clip: Source) -> float:
        began = time.perf_counter()
        besides()
        recognizer.recognize(clip)
        return time.perf_counter() - began

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(one, clips))


def _at_once(
    recognizer: Recognizer, options: ThroughputOptions, tell: Callable[[str], None]
) -> dict[str, Timed[list[float]]]:
    clips = list(speech.mixed_clips(options.requests, longest=options.longest))
    ask(recognizer, clips[:8], min(options.clients))

    def work(clients: int, number: int) -> list[float]:
        tell(f"round {number + 1} of {options.runs}: {clients} clients")
        return ask(recognizer, clips, clients)

    sides = [
        Side(str(clients), lambda number, clients=clients: work(clients, number))  # type: ignore[misc]
        for clients in options.clients
    ]
    return interleaved(sides, options.runs, warm_up=False)


def _soak(
    recognizer: Recognizer, options: ThroughputOptions, tell: Callable[[str], None]
) -> tuple[tuple[int, int], ...]:
    """Answer many requests, a piece at a time; return (requests so far, resident bytes) after each piece."""
    if memory.resident_bytes() is None:
        return ()
    clips = speech.mixed_clips(options.soak, longest=options.longest)
    piece = max(1, min(_SETTLED, options.soak // _POINTS))
    done, points = 0, []
    while part := list(islice(clips, piece)):
        ask(recognizer, part, _SOAK_CLIENTS)
        done += len(part)
        points.append((done, memory.resident_bytes() or 0))
        if done // (10 * piece) > (done - len(part)) // (10 * piece):
            tell(f"soak: {done} of {options.soak}, {points[-1][1] / 1e6:.0f} MB resident")
    return tuple(points)


def _findings(
    timed: dict[str, Timed[list[float]]],
    soaked: tuple[tuple[int, int], ...],
    facts: dict[str, object],
    options: ThroughputOptions,
) -> Findings:
    audio = sum(clip.seconds for clip in speech.mixed_clips(options.requests, longest=options.longest))
    first = next(iter(timed.values()))
    rows = tuple(_row(name, one, first, options.requests, audio) for name, one in timed.items())
    bars = tuple(Bar(name, "emotape", spread([audio / taken for taken in one.seconds])) for name, one in timed.items())
    tables = [Table(f"Throughput: {facts['model']}, {options.requests} requests, {audio:.0f} s of audio", rows)]
    notes = []
    if soaked:
        tables.append(Table("Memory over many requests", (flatness(soaked),)))
    elif options.soak:
        notes.append("this system does not tell a process how much of it is resident: the soak was left out")
    samples = ({"side": name, "took": one.seconds, "answers": one.answers} for name, one in timed.items())
    chart = Chart(f"Seconds of audio per second: {facts['model']}", "× real time, by clients", bars)
    return Findings("throughput", facts, tuple(tables), (chart,), (*samples, {"soak": soaked}), tuple(notes))


def _row(name: str, timed: Timed[list[float]], first: Timed[list[float]], requests: int, audio: float) -> Row:
    waits = np.concatenate([np.asarray(answer) for answer in timed.answers])
    return {
        "clients": int(name),
        "requests/s": spread([requests / taken for taken in timed.seconds]),
        "audio s/s": spread([audio / taken for taken in timed.seconds]),
        "× fewest clients": times_faster(first.seconds, timed.seconds),
        "answer s, median": float(np.median(waits)),
        "answer s, 95 %": float(np.quantile(waits, 0.95)),
    }


def flatness(points: Sequence[tuple[int, int]]) -> Row:
    """Return how resident memory at the end compares with its level when it had settled.

    `points` are (requests so far, resident bytes), in order.
    """
    settled = next((size for done, size in points if done >= _SETTLED), points[0][1])
    last = points[-1][1]
    return {
        "requests": points[-1][0],
        f"MB after {_SETTLED}": settled / 1e6,
        "MB at the end": last / 1e6,
        "change %": 100 * (last / settled - 1),
        "most MB": max(size for _, size in points) / 1e6,
    }

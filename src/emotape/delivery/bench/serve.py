"""`emotape bench serve`: what many clients of the HTTP service see, against servers that people build around FunASR.

The clients run on the cores that the servers need. What they take is measured, and the library is also asked by callers
that take as much.
"""

from __future__ import annotations

import hashlib
import io
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.bench import clients as http
from emotape.delivery.bench import servers, speech
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.peers import recognizer_of
from emotape.delivery.bench.reference import require
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject
from emotape.delivery.bench.throughput import ask as ask_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from emotape.audio.waveform import Waveform
    from emotape.delivery.bench.clients import Reply
    from emotape.delivery.bench.servers import Server
    from emotape.delivery.bench.subject import Subject
    from emotape.recognizer import Recognizer

LIBRARY: Final = "emotape, no HTTP"
LADEN: Final = "emotape, no HTTP, clients' work"
_BLOCK: Final = bytes(65_536)
PEERS: Final = ("handler", "gradio")

Row = dict[str, str | int | float | Spread | None]


@dataclass(frozen=True)
class ServeOptions:
    """Which servers, how many clients and requests, how often; `soak_seconds` of load on emotape alone at the end."""

    choice: Choice = field(default_factory=Choice)
    against: tuple[str, ...] = PEERS
    clients: tuple[int, ...] = (1, 8, 64)
    requests: int = 96
    runs: int = 3
    threads: int = 2
    longest: float = 8.0
    soak_seconds: float = 0.0


@dataclass(frozen=True)
class Load:
    """What every side is asked for: recordings, as files, of so many seconds in all."""

    recordings: list[bytes]
    seconds: float


@dataclass(frozen=True)
class Case:
    """What every side answered with one number of clients, who took `client_seconds` of a core for each recording."""

    clients: int
    client_seconds: float
    timed: dict[str, Timed[list[Reply]]]


@dataclass(frozen=True)
class Point:
    """The service after so many seconds of load: requests so far, resident bytes, and the last replies."""

    seconds: float
    requests: int
    resident: int | None
    replies: tuple[Reply, ...]


def measure(options: ServeOptions, tell: Callable[[str], None]) -> Findings:
    """Send the same recordings to every server in turns. Raises BadRequest `bench_peer_missing`, EngineFault."""
    if options.against:
        require("funasr")
    with subject(options.choice, official=bool(options.against)) as model, ExitStack() as stack:
        library = stack.enter_context(recognizer_of(model.directory, "auto", options.threads))
        running = list(_started(stack, model, options, tell))
        load = _load(options)
        cases = [_case(library, running, load, options.runs, clients, tell) for clients in options.clients]
        points = list(_soak(running[0], load, options, tell)) if options.soak_seconds else []
        asked = {name: value for name, value in vars(options).items() if name != "choice"}
        facts: dict[str, object] = (
            model.facts() | asked | {"arithmetic": library.recognize(speech.clip(1)).provenance.dtype}
        )
    return _findings(cases, points, facts, options, load)


def _started(stack: ExitStack, model: Subject, options: ServeOptions, tell: Callable[[str], None]) -> Iterator[Server]:
    tell("starting emotape")
    yield stack.enter_context(servers.ours(model.directory, options.threads))
    for kind in options.against:
        tell(f"starting FunASR behind {kind}")
        assert model.official is not None  # noqa: S101 - it was asked for
        yield stack.enter_context(servers.peer(kind, model.official, options.threads))


def _case(
    library: Recognizer,
    running: Sequence[Server],
    load: Load,
    runs: int,
    clients: int,
    tell: Callable[[str], None],
) -> Case:
    tell(f"{clients} clients: {LIBRARY}, {', '.join(server.name for server in running)}, {runs} rounds")
    cost = _client_seconds(running[0], load, clients)

    def by_library(besides: Callable[[], None], _: int) -> list[Reply]:
        return [http.Reply(200, seconds) for seconds in ask_library(library, load.recordings, clients, besides)]

    def by_http(server: Server, _: int) -> list[Reply]:
        return http.ask(server.url, server.dialect, load.recordings, clients)

    sides = [Side(LIBRARY, partial(by_library, lambda: None)), Side(LADEN, partial(by_library, partial(busy, cost)))]
    sides += [Side(server.name, partial(by_http, server)) for server in running]
    return Case(clients, cost, interleaved(sides, runs))


def _client_seconds(server: Server, load: Load, clients: int) -> float:
    """Return how many seconds of a core the clients take for one recording."""
    began = time.process_time()
    http.ask(server.url, server.dialect, load.recordings, clients)
    return (time.process_time() - began) / len(load.recordings)


def busy(seconds: float) -> None:
    """Keep a core busy, and the interpreter free for others, as a client in a process of its own does."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        hashlib.sha256(_BLOCK)


def _load(options: ServeOptions) -> Load:
    clips = list(speech.mixed_clips(options.requests, longest=options.longest))
    return Load([_as_wav(clip) for clip in clips], sum(clip.seconds for clip in clips))


def _as_wav(clip: Waveform) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, clip.samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _soak(server: Server, load: Load, options: ServeOptions, tell: Callable[[str], None]) -> Iterator[Point]:
    """Keep the most clients busy for the wanted time; look at the memory and the replies after each piece."""
    most, recordings = max(options.clients), load.recordings
    began, requests = time.perf_counter(), 0
    for piece in repeat(recordings * max(1, 4 * most // len(recordings))):
        replies = http.ask(server.url, server.dialect, piece, most)
        requests += len(replies)
        seconds = time.perf_counter() - began
        yield Point(seconds, requests, server.resident_bytes(), tuple(replies))
        tell(f"soak: {seconds:.0f} of {options.soak_seconds:.0f} s, {requests} requests")
        if seconds >= options.soak_seconds:
            return


def _findings(
    cases: Sequence[Case], points: Sequence[Point], facts: dict[str, object], options: ServeOptions, load: Load
) -> Findings:
    title = f"Service: {facts['model']}, {options.requests} requests a round, {load.seconds:.0f} s of audio"
    tables = [Table(title, tuple(_row(case, name, options) for case in cases for name in case.timed))]
    if points:
        tables.append(Table(f"{max(options.clients)} clients without a pause", (_soaked(points),)))
    bars = tuple(
        Bar(f"{case.clients} clients", name, spread([_good(replies) / taken for taken, replies in _rounds(one)]))
        for case in cases
        for name, one in case.timed.items()
    )
    samples: list[dict[str, object]] = [
        {
            "clients": case.clients,
            "client_seconds": case.client_seconds,
            "side": name,
            "took": one.seconds,
            "replies": _kept(chain(*one.answers)),
        }
        for case in cases
        for name, one in case.timed.items()
    ]
    samples += [{"soak": (p.seconds, p.requests, p.resident), "replies": _kept(p.replies)} for p in points]
    notes = tuple(
        f"a recording takes its client {1000 * case.client_seconds:.2f} ms of a core, with {case.clients} at once"
        for case in cases
    )
    chart = Chart(f"Recordings recognized per second: {facts['model']}", "recordings per second", bars)
    return Findings("serve", facts, tuple(tables), (chart,), tuple(samples), notes)


def _row(case: Case, name: str, options: ServeOptions) -> Row:
    timed = case.timed[name]
    replies = list(chain(*timed.answers))
    answered = [reply.seconds for reply in replies if reply.good]
    return {
        "clients": case.clients,
        "server": name,
        "recognized/s": spread([_good(found) / taken for taken, found in _rounds(timed)]),
        "of the library": times_faster(case.timed[LIBRARY].seconds, timed.seconds).median,
        "of it with clients' work": times_faster(case.timed[LADEN].seconds, timed.seconds).median,
        "answer s, median": float(np.median(answered)) if answered else None,
        "99 %": float(np.quantile(answered, 0.99)) if answered else None,
        "failed": f"{sum(not reply.good for reply in replies)}/{options.runs * options.requests}",
        "refused (429)": sum(reply.refusals for reply in replies),
    }


def _soaked(points: Sequence[Point]) -> Row:
    replies = [reply for point in points for reply in point.replies]
    settled, last = points[0].resident, points[-1].resident
    return {
        "minutes": points[-1].seconds / 60,
        "requests": points[-1].requests,
        "requests/s": points[-1].requests / points[-1].seconds,
        "failed": sum(not reply.good for reply in replies),
        "refused (429)": sum(reply.refusals for reply in replies),
        "answer s, median": float(np.median([reply.seconds for reply in replies])),
        "99 %": float(np.quantile([reply.seconds for reply in replies], 0.99)),
        "longest": max(reply.seconds for reply in replies),
        "MB after the first round": settled and settled / 1e6,
        "MB at the end": last and last / 1e6,
        "change %": None if not settled or not last else 100 * (last / settled - 1),
    }


def _rounds(timed: Timed[list[Reply]]) -> Iterator[tuple[float, list[Reply]]]:
    return zip(timed.seconds, timed.answers, strict=True)


def _good(replies: Sequence[Reply]) -> int:
    return sum(reply.good for reply in replies)


def _kept(replies: Sequence[Reply] | chain[Reply]) -> list[tuple[int, float, int]]:
    return [(reply.status, round(reply.seconds, 4), reply.refusals) for reply in replies]

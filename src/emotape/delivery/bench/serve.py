"""`emotape bench serve`: what many clients of the HTTP service see, against servers that people build around FunASR."""

from __future__ import annotations

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
class Case:
    """What every side answered with one number of clients."""

    clients: int
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
        cases = [_case(library, running, options, clients, tell) for clients in options.clients]
        points = list(_soak(running[0], options, tell)) if options.soak_seconds else []
        asked = {name: value for name, value in vars(options).items() if name != "choice"}
        facts: dict[str, object] = (
            model.facts() | asked | {"arithmetic": library.recognize(speech.clip(1)).provenance.dtype}
        )
    return _findings(cases, points, facts, options)


def _started(stack: ExitStack, model: Subject, options: ServeOptions, tell: Callable[[str], None]) -> Iterator[Server]:
    tell("starting emotape")
    yield stack.enter_context(servers.ours(model.directory, options.threads))
    for kind in options.against:
        tell(f"starting FunASR behind {kind}")
        assert model.official is not None  # noqa: S101 - it was asked for
        yield stack.enter_context(servers.peer(kind, model.official, options.threads))


def _case(
    library: Recognizer, running: Sequence[Server], options: ServeOptions, clients: int, tell: Callable[[str], None]
) -> Case:
    tell(f"{clients} clients: {LIBRARY}, {', '.join(server.name for server in running)}, {options.runs} rounds")
    recordings = _recordings(options)

    def by_library(_: int) -> list[Reply]:
        return [http.Reply(200, seconds) for seconds in ask_library(library, recordings, clients)]

    def by_http(server: Server, _: int) -> list[Reply]:
        return http.ask(server.url, server.dialect, recordings, clients)

    sides = [Side(LIBRARY, by_library), *(Side(server.name, partial(by_http, server)) for server in running)]
    return Case(clients, interleaved(sides, options.runs))


def _recordings(options: ServeOptions) -> list[bytes]:
    return [_as_wav(clip) for clip in speech.mixed_clips(options.requests, longest=options.longest)]


def _as_wav(clip: Waveform) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, clip.samples, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _soak(server: Server, options: ServeOptions, tell: Callable[[str], None]) -> Iterator[Point]:
    """Keep the most clients busy for the wanted time; look at the memory and the replies after each piece."""
    most, recordings = max(options.clients), _recordings(options)
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
    cases: Sequence[Case], points: Sequence[Point], facts: dict[str, object], options: ServeOptions
) -> Findings:
    audio = sum(clip.seconds for clip in speech.mixed_clips(options.requests, longest=options.longest))
    title = f"Service: {facts['model']}, {options.requests} requests a round, {audio:.0f} s of audio"
    tables = [Table(title, tuple(_row(case, name, options) for case in cases for name in case.timed))]
    if points:
        tables.append(Table(f"{max(options.clients)} clients without a pause", (_soaked(points),)))
    bars = tuple(
        Bar(f"{case.clients} clients", name, spread([_good(replies) / taken for taken, replies in _rounds(one)]))
        for case in cases
        for name, one in case.timed.items()
    )
    samples: list[dict[str, object]] = [
        {"clients": case.clients, "side": name, "took": one.seconds, "replies": _kept(chain(*one.answers))}
        for case in cases
        for name, one in case.timed.items()
    ]
    samples += [{"soak": (p.seconds, p.requests, p.resident), "replies": _kept(p.replies)} for p in points]
    chart = Chart(f"Recordings recognized per second: {facts['model']}", "recordings per second", bars)
    return Findings("serve", facts, tuple(tables), (chart,), tuple(samples))


def _row(case: Case, name: str, options: ServeOptions) -> Row:
    timed = case.timed[name]
    replies = list(chain(*timed.answers))
    answered = [reply.seconds for reply in replies if reply.good]
    return {
        "clients": case.clients,
        "server": name,
        "recognized/s": spread([_good(found) / taken for taken, found in _rounds(timed)]),
        "of the library": times_faster(case.timed[LIBRARY].seconds, timed.seconds).median,
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

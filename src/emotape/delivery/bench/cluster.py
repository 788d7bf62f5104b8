"""`emotape bench cluster`: what the way through Ray costs, beside the engine in one process, on the same cores."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.bench import machine
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, more, spread
from emotape.delivery.bench.process_tree import ProcessTree
from emotape.delivery.bench.recordings import recording
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emotape.delivery.recognition import Recognition

LOCAL: Final = "one process"
_STORE_BYTES: Final = 256 * 1024**2
_FORMAT: Final = "opus"
_IDLE_SECONDS: Final = 2.0
_NOTE: Final = (
    "Both sides use the same cores. The cluster runs meanwhile: its `idle_cores` slow both alike, and are no part of"
    " the clips' processor time."
)

Row = dict[str, str | int | float | Spread | None]


@dataclass(frozen=True)
class ClusterOptions:
    """Which model, how many clips of which lengths a round has, how many are under way at a time, and how often."""

    choice: Choice = field(default_factory=Choice)
    seconds: tuple[float, ...] = (3.0, 10.0)
    clips: int = 64
    in_flight: int = 32
    runs: int = 7


def measure(options: ClusterOptions, tell: Callable[[str], None]) -> Findings:
    """Answer the same recordings by a recognizer in this process and by replicas on this machine, in turns.

    Raises ModelFault, EngineFault, and BadRequest ("cluster_not_installed").
    """
    from emotape.recognizer import Recognizer

    cores = machine.cores()
    with subject(options.choice, official=False) as model, Recognizer(model.directory) as local:
        with _replicas(model.directory, cores, tell) as remotes:
            tree = ProcessTree()
            idle = tree.busy_cores(_IDLE_SECONDS)
            ways: dict[str, Recognition] = {LOCAL: local, **remotes}
            found = {seconds: _timed(ways, seconds, options, tree, tell) for seconds in options.seconds}
        facts = model.facts() | {"clips": options.clips, "in_flight": options.in_flight, "runs": options.runs}
    return _findings(found, facts | {"cores": cores, "format": _FORMAT, "idle_cores": idle}, options.clips, idle)


def _timed(
    ways: dict[str, Recognition],
    seconds: float,
    options: ClusterOptions,
    tree: ProcessTree,
    tell: Callable[[str], None],
) -> dict[str, Timed[None]]:
    tell(f"{options.clips} clips of {seconds:g} s, {options.runs} rounds")
    content = recording(_FORMAT, seconds)
    sides = [
        Side(name, lambda _, way=way: _answer(way, content, options))  # type: ignore[misc]
        for name, way in ways.items()
    ]
    return interleaved(sides, options.runs, processor=tree.processor_seconds)


def _answer(way: Recognition, content: bytes, options: ClusterOptions) -> None:
    """Have a recording answered so many times, a few at a time."""
    waiting: deque[Any] = deque()
    for _ in range(options.clips):
        if len(waiting) >= options.in_flight:
            waiting.popleft().result()
        waiting.append(way.submit(content))
    for answer in waiting:
        answer.result()


@contextmanager
def _replicas(directory: Path, cores: int, tell: Callable[[str], None]) -> Iterator[dict[str, Recognition]]:
    """Start a cluster on this machine with one engine that uses its cores, and give ways to it."""
    from emotape.delivery.cluster.running import alone

    with alone(cores + 1, _STORE_BYTES):
        tell("starting the replicas")
        with _handles(directory, cores) as (engine, decoding):
            from emotape.delivery.cluster.calls import Replicas
            from emotape.delivery.cluster.dispatch import DispatchOptions
            from emotape.delivery.cluster.remote import RemoteRecognizer
            from emotape.recognizer import RecognizerOptions

            def way(replicas: Replicas) -> RemoteRecognizer:
                recognizer = RemoteRecognizer(replicas, RecognizerOptions(), DispatchOptions())
                return closing_all.enter_context(closing(recognizer)).open()

            with ExitStack() as closing_all:
                apart, within = Replicas(engine, decoding), Replicas(engine)
                yield {"Ray, decoding apart": way(apart), "Ray, engines decode": way(within)}


@contextmanager
def _handles(directory: Path, cores: int) -> Iterator[tuple[Any, Any]]:
    from ray import serve
    from ray.serve.schema import LoggingConfig

    from emotape.delivery.cluster.decoding import Decoding
    from emotape.delivery.cluster.engine import Engine
    from emotape.delivery.cluster.options import cluster_options

    options = cluster_options({"settings": {"model": str(directory), "cache_megabytes": 0}})
    quiet = LoggingConfig(enable_access_log=False)
    common: dict[str, Any] = {"max_ongoing_requests": 1000, "logging_config": quiet}
    engine = serve.deployment(name="Engine", ray_actor_options={"num_cpus": cores}, **common)(Engine)
    decoding = serve.deployment(name="Decoding", ray_actor_options={"num_cpus": 1}, **common)(Decoding)
    try:
        yield (
            serve.run(engine.bind(options), name="engine", route_prefix=None),
            serve.run(decoding.bind(options), name="decoding", route_prefix=None),
        )
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]


def _findings(
    found: dict[float, dict[str, Timed[None]]], facts: dict[str, object], clips: int, idle: float
) -> Findings:
    rows = [_row(seconds, name, sides, clips, idle) for seconds, sides in found.items() for name in sides]
    bars = tuple(
        Bar(f"{seconds:g} s", name, spread([1000 * taken / clips for taken in one.seconds]))
        for seconds, sides in found.items()
        for name, one in sides.items()
    )
    samples = [
        {"seconds": seconds, "side": name, "rounds": one.seconds, "processor": one.processor}
        for seconds, sides in found.items()
        for name, one in sides.items()
    ]
    return Findings(
        "cluster",
        facts,
        (Table(f"{facts['model']}: a recording through Ray and in one process", tuple(rows)),),
        (Chart(f"A recording, {facts['in_flight']} at a time", "milliseconds", bars),),
        tuple(samples),
        (_NOTE,),
    )


def _row(seconds: float, name: str, sides: dict[str, Timed[None]], clips: int, idle: float) -> Row:
    own, work, local = sides[name].seconds, _work(sides[name], idle), _work(sides[LOCAL], idle)
    return {
        "clip, s": seconds,
        "way": name,
        "ms a clip": spread([1000 * taken / clips for taken in own]),
        "× real time": spread([seconds * clips / taken for taken in own]),
        "overhead, %": None if name == LOCAL else more(sides[LOCAL].seconds, own),
        "core ms a clip": spread([1000 * busy / clips for busy in work]),
        "more of the cores, %": None if name == LOCAL else more(local, work),
    }


def _work(timed: Timed[None], idle: float) -> list[float]:
    """Return the processor time of each round without what the idle cluster takes all the time."""
    return [busy - idle * taken for busy, taken in zip(timed.processor, timed.seconds, strict=True)]

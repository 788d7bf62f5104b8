"""`emotape bench batch`: what the way of a batch through Ray costs, beside the engine of this machine."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from emotape.delivery.bench import machine
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, more, spread
from emotape.delivery.bench.process_tree import ProcessTree
from emotape.delivery.bench.recordings import recording
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from emotape.delivery.offline.rows import Asked
    from emotape.delivery.offline.run import Engine, Tally
    from emotape.recognizer import Recognizer

LOCAL: Final = "this machine's engine"
RAY: Final = "Ray"
_FORMAT: Final = "opus"
_IDLE_SECONDS: Final = 2.0
_NOTE: Final = (
    "Time and work count from the first answers that are in the output to the last: the model is loaded then. The"
    " cluster runs all the time; its `idle_cores` are no part of the processor time of either side."
)

Row = dict[str, str | int | float | Spread | None]


@dataclass(frozen=True)
class BatchOptions:
    """Which model, how many recordings of which length a round has, and how many rounds."""

    choice: Choice = field(default_factory=Choice)
    seconds: float = 3.0
    recordings: int = 1_000
    runs: int = 5


@dataclass(frozen=True)
class Stretch:
    """What lies between the first answers of a run and its last: recordings, seconds, seconds of processor time."""

    recordings: int
    seconds: float
    processor: float


class Watch:
    """Hears of the steps of a run, and looks at the clocks in the first and the last."""

    def __init__(self, recordings: int, tree: ProcessTree) -> None:
        self._recordings = recordings
        self._tree = tree
        self._seen: list[tuple[int, float, float]] = []

    def look(self, tally: Tally) -> None:
        """Hear of a step of a run."""
        if not self._seen or tally.now == self._recordings:
            self._seen.append((tally.now, time.perf_counter(), self._tree.processor_seconds()))

    def stretch(self) -> Stretch:
        """Return what lies between them."""
        (before, began, idle), (after, ended, busy) = self._seen
        return Stretch(after - before, ended - began, busy - idle)


def measure(options: BatchOptions, tell: Callable[[str], None]) -> Findings:
    """Answer the same folder here and on a new cluster of this machine, in turns.

    Raises ModelFault, EngineFault, and BadRequest ("batch_ray_unreachable").
    """
    from emotape.delivery.offline.placement import connected
    from emotape.recognizer import Recognizer

    with (
        subject(options.choice, official=False) as model,
        TemporaryDirectory(prefix="emotape-bench-") as folder,
        connected("local"),
        closing(Recognizer(model.directory).open()) as recognizer,
    ):
        _write(Path(folder), options)
        tree = ProcessTree()
        idle = tree.busy_cores(_IDLE_SECONDS)
        tell(f"{options.recordings} recordings of {options.seconds:g} s, {options.runs} rounds")
        sides = [
            Side(name, lambda _, way=way: _run(way, recognizer, Path(folder), Watch(options.recordings, tree)))  # type: ignore[misc]
            for name, way in {LOCAL: _here, RAY: _there}.items()
        ]
        found = interleaved(sides, options.runs)
        facts = model.facts() | {"recordings": options.recordings, "seconds": options.seconds, "runs": options.runs}
    return findings(found, facts | {"cores": machine.cores(), "format": _FORMAT, "idle_cores": idle})


def _write(folder: Path, options: BatchOptions) -> None:
    """Write one recording, under as many names as are wanted."""
    first = folder / f"0.{_FORMAT}"
    first.write_bytes(recording(_FORMAT, options.seconds))
    for number in range(1, options.recordings):
        os.link(first, folder / f"{number}.{_FORMAT}")


def _run(way: Callable[[Recognizer, Asked], Engine], recognizer: Recognizer, folder: Path, watch: Watch) -> Stretch:
    """Answer a folder as `emotape batch` does, into an output of its own."""
    from emotape.delivery.offline.folder import FolderSource
    from emotape.delivery.offline.forms import form_of
    from emotape.delivery.offline.output import Output, Place
    from emotape.delivery.offline.rows import Asked
    from emotape.delivery.offline.run import facts_of, run

    asked = Asked(scores=tuple(label.key for label in recognizer.labels))
    form = form_of(asked, as_json=False)
    with (
        TemporaryDirectory(prefix="emotape-bench-") as results,
        Output(Place(Path(results)), form, facts_of(asked, folder, form)) as output,
    ):
        run(FolderSource(folder, Path(results)), output, way(recognizer, asked), watch.look)
    return watch.stretch()


def _here(recognizer: Recognizer, asked: Asked) -> Engine:
    from emotape.delivery.offline.forms import form_of
    from emotape.delivery.offline.local import local_engine
    from emotape.delivery.offline.run import OneMachine

    return OneMachine(local_engine(recognizer, asked, "en"), form_of(asked, as_json=False))


def _there(recognizer: Recognizer, asked: Asked) -> Engine:
    from emotape.delivery.offline.cluster import Cluster, Order
    from emotape.delivery.offline.placement import options_on, workers_for

    workers = workers_for(None, None)
    options = options_on(workers, recognizer.options)
    return Cluster(Order(recognizer.model.path, options, asked, "en", as_json=False), workers)


def findings(found: dict[str, Timed[Stretch]], facts: dict[str, object]) -> Findings:
    """Return the table of what was measured; `facts` holds `idle_cores`, which belong to no side."""
    idle = float(str(facts["idle_cores"]))
    rows = [_row(name, found, idle) for name in found]
    bars = tuple(Bar(f"{facts['seconds']:g} s", name, _milliseconds(one)) for name, one in found.items())
    samples = [
        {"side": name, "recordings": each.recordings, "seconds": each.seconds, "processor": each.processor}
        for name, one in found.items()
        for each in one.answers
    ]
    return Findings(
        "batch",
        facts,
        (Table(f"{facts['model']}: a recording of a batch", tuple(rows)),),
        (Chart("A recording of a batch", "milliseconds", bars),),
        tuple(samples),
        (_NOTE,),
    )


def _row(name: str, found: dict[str, Timed[Stretch]], idle: float) -> Row:
    def work(side: str) -> list[float]:
        return [(each.processor - idle * each.seconds) / each.recordings for each in found[side].answers]

    def time_taken(side: str) -> list[float]:
        return [each.seconds / each.recordings for each in found[side].answers]

    return {
        "way": name,
        "ms a recording": _milliseconds(found[name]),
        "overhead, %": None if name == LOCAL else more(time_taken(LOCAL), time_taken(name)),
        "core ms a recording": spread([1000 * busy for busy in work(name)]),
        "more of the cores, %": None if name == LOCAL else more(work(LOCAL), work(name)),
    }


def _milliseconds(timed: Timed[Stretch]) -> Spread:
    return spread([1000 * each.seconds / each.recordings for each in timed.answers])

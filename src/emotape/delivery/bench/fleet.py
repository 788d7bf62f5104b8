"""`emotape bench fleet`: the simulation of one machine beside the engine itself, with the same arrivals.

Before each stream many callers keep the engine busy: that gives its rate now, and what a tape costs. Then clips arrive
at random, whether or not earlier ones are answered; the same arrivals are simulated with these costs and with the
plan's own, and what was predicted of waiting and throughput stands beside what was measured.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

import numpy as np

from emotape.delivery.bench import speech
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import spread
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject
from emotape.delivery.bench.throughput import ask
from emotape.delivery.planning.cost import expect, typical_rate
from emotape.delivery.planning.simulation import simulate
from emotape.delivery.planning.simulation_outcome import times
from emotape.delivery.planning.simulation_policy import Policy
from emotape.delivery.planning.simulation_replica import Served, served_at
from emotape.delivery.planning.simulation_traffic import Traffic, poisson
from emotape.engine.choices import Planned
from emotape.engine.resident import EngineOptions
from emotape.events import TapeRan
from emotape.recognizer import Recognizer, RecognizerOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emotape.audio.waveform import Waveform
    from emotape.delivery.planning.simulation_outcome import Times
    from emotape.engine.progress import Pending
    from emotape.engine.result import Prediction
    from emotape.events import Event

_CALLERS: Final = 16
_MEAN: Final = 3.0  # seconds of a clip
_ALONE: Final = Policy(least=1, most=1, look=1e6)
FITTED, PLANNED = "fitted", "plan"


@dataclass(frozen=True)
class FleetOptions:
    """Loads as shares of the measured rate, seconds of arrivals for each, and how often; clips of 1 to `longest` s."""

    choice: Choice = field(default_factory=Choice)
    loads: tuple[float, ...] = (0.5, 0.8, 1.5)
    seconds: float = 8.0
    runs: int = 2
    longest: float = 8.0
    warm: int = 96
    threads: int | None = None


@dataclass(frozen=True)
class Stream:
    """What came of one stream of clips: seconds that each waited for a tape, and when the last was answered."""

    queued: Times
    answered_after: Times
    audio: float
    took: float

    @property
    def throughput(self) -> float:
        """Seconds of audio a second, from the first arrival to the last answer."""
        return self.audio / self.took


@dataclass(frozen=True)
class Case:
    """One stream: the rate just before it, its load, what was measured, and what each of `costs` predicted."""

    rate: float
    load: float
    costs: dict[str, Served]
    measured: Stream
    predicted: dict[str, Stream]


@dataclass(frozen=True)
class _Bench:
    """What all streams share: the engine, what its tapes say, its clips, and the plan without and with its costs."""

    recognizer: Recognizer
    tapes: list[TapeRan]
    clips: tuple[Waveform, ...]
    bare: Served
    planned: Served


def measure(options: FleetOptions, tell: Callable[[str], None]) -> Findings:
    """Measure and simulate. Raises ModelFault, EngineFault, and BadRequest `fleet_simpy_missing`."""
    tapes: list[TapeRan] = []

    def note(event: Event, /) -> None:
        if isinstance(event, TapeRan):
            tapes.append(event)

    engine = EngineOptions(device="cpu", compute_threads=options.threads)
    with (
        subject(options.choice, official=False) as model,
        Recognizer(model.directory, options=RecognizerOptions(engine=engine), observer=note) as recognizer,
    ):
        clips = tuple(speech.mixed_clips(options.warm, longest=options.longest))
        bench = _Bench(recognizer, tapes, clips, *_planned(recognizer, engine))
        ask(recognizer, clips[:_CALLERS], _CALLERS)
        cases = []
        for run in range(options.runs):
            for load in options.loads:
                tell(f"round {run + 1} of {options.runs}: arrivals at {load:g} of the rate")
                cases.append(_case(bench, load, options.seconds, run))
        facts = model.facts() | {name: value for name, value in vars(options).items() if name != "choice"}
        facts |= {"arithmetic": recognizer.plan.arithmetic, "lanes": bench.bare.lanes}
    return _findings(cases, facts)


def _busy(bench: _Bench) -> tuple[float, Served]:
    """Keep the engine busy; return its seconds of audio a second, and what its tapes cost meanwhile."""
    bench.tapes.clear()
    began = time.perf_counter()
    ask(bench.recognizer, bench.clips, _CALLERS)
    rate = sum(clip.seconds for clip in bench.clips) / (time.perf_counter() - began)
    return rate, fitted(bench.tapes, bench.bare)


def _planned(recognizer: Recognizer, engine: EngineOptions) -> tuple[Served, Served]:
    """Return the engine as a replica without costs, and with those that the plan expects of typical cores."""
    from emotape.engine.machine import look_at_machine, multiplies_bfloat16
    from emotape.model.dims import read_dims
    from emotape.model.weights import CONFIG

    made = recognizer.plan
    dims = read_dims(recognizer.model.path / CONFIG, classes=len(recognizer.labels))
    machine = look_at_machine(bfloat16=multiplies_bfloat16())
    planned = Planned(machine, engine, dims.parameters, made)
    bare = Served(made.replicas, made.tape_tokens, made.queue_seconds, 0.0, 0.0, 0.0)
    rate = typical_rate(machine, made.arithmetic)  # clips come decoded, so only the network counts
    return bare, served_at(made, lambda seconds: expect(planned, dims, rate, seconds).network, _MEAN, on_card=False)


def fitted(tapes: Sequence[TapeRan], bare: Served) -> Served:
    """Return `bare` with the costs that fit the tapes best (least squares; none is below zero)."""
    rows = np.asarray([(1.0, tape.clips, tape.audio_seconds) for tape in tapes])
    taken = np.asarray([tape.seconds for tape in tapes])
    kept = [0, 1, 2]
    while (found := np.linalg.lstsq(rows[:, kept], taken)[0]).min() < 0:
        del kept[int(found.argmin())]
    per_tape, per_clip, pace = (dict(zip(kept, found.tolist(), strict=True)).get(column, 0.0) for column in range(3))
    return replace(bare, per_tape=per_tape, per_clip=per_clip, pace=pace)


def _case(bench: _Bench, load: float, seconds: float, run: int) -> Case:
    rate, found = _busy(bench)
    costs = {FITTED: found, PLANNED: bench.planned}
    lengths = np.asarray([clip.seconds for clip in bench.clips])
    seed = 1000 * run + round(100 * load)
    coming = poisson(load * rate / lengths.mean(), seconds, lambda count: np.resize(lengths, count), seed)
    clips = list(islice(cycle(bench.clips), len(coming.arrivals)))
    measured = play(bench.recognizer, clips, coming)
    return Case(rate, load, costs, measured, {name: predicted(coming, served) for name, served in costs.items()})


def play(recognizer: Recognizer, clips: Sequence[Waveform], coming: Traffic) -> Stream:
    """Submit every clip when its time has come, and wait for all answers."""
    answered: dict[int, float] = {}
    began = time.perf_counter()
    pending: list[Pending[Prediction]] = []
    for number, (clip, when) in enumerate(zip(clips, coming.arrivals.tolist(), strict=True)):
        time.sleep(max(0.0, began + when - time.perf_counter()))
        future = recognizer.submit(clip)
        future.add_done_callback(lambda _, number=number: answered.__setitem__(number, time.perf_counter() - began))  # type: ignore[misc]
        pending.append(future)
    queued = [future.result().stages["queue"] for future in pending]
    after = [answered[number] - when for number, when in enumerate(coming.arrivals.tolist())]
    return Stream(times(queued), times(after), coming.audio, max(answered.values()) - float(coming.arrivals[0]))


def predicted(coming: Traffic, served: Served) -> Stream:
    """Simulate the same arrivals until all are answered."""
    log = simulate(replace(coming, span=coming.span + 3600.0), served, _ALONE)
    queued = [clip.started - clip.arrived for clip in log.clips if clip.started is not None]
    after = [clip.answered - clip.arrived for clip in log.clips if clip.answered is not None]
    last = max(clip.answered for clip in log.clips if clip.answered is not None)
    return Stream(times(queued), times(after), coming.audio, last - float(coming.arrivals[0]))


def _findings(cases: Sequence[Case], facts: dict[str, object]) -> Findings:
    names = (FITTED, PLANNED)
    loads = {load: [case for case in cases if case.load == load] for load in sorted({case.load for case in cases})}
    rows = tuple(_row(load, name, found) for load, found in loads.items() for name in names)
    tables = (
        Table("What a tape costs on one lane, milliseconds", tuple(_costs(name, cases) for name in names)),
        Table(f"Simulated and measured: {facts['model']}, medians of rounds, seconds", rows),
    )
    bars = tuple(
        Bar(f"{load:g} of the rate", side, spread([_side(case, side).throughput for case in found]))
        for load, found in loads.items()
        for side in ("measured", *names)
    )
    chart = Chart(f"Predicted and measured: {facts['model']}", "seconds of audio a second", bars)
    samples = tuple(asdict(case) for case in cases)
    return Findings("fleet", facts | {"rate": spread([case.rate for case in cases]).median}, tables, (chart,), samples)


def _costs(name: str, cases: Sequence[Case]) -> dict[str, str | float]:
    found = [case.costs[name] for case in cases]
    return {
        "costs": name,
        "a tape": 1e3 * float(np.median([each.per_tape for each in found])),
        "a clip": 1e3 * float(np.median([each.per_clip for each in found])),
        "a second of audio": 1e3 * float(np.median([each.pace for each in found])),
    }


def _side(case: Case, side: str) -> Stream:
    return case.measured if side == "measured" else case.predicted[side]


def _row(load: float, name: str, cases: Sequence[Case]) -> dict[str, str | float]:
    def middle(side: str, value: Callable[[Stream], float]) -> float:
        return float(np.median([value(_side(case, side)) for case in cases]))

    ratio = np.median([case.predicted[name].throughput / case.measured.throughput for case in cases])
    return {
        "load": load,
        "costs": name,
        "audio s/s, measured": middle("measured", lambda stream: stream.throughput),
        "predicted": middle(name, lambda stream: stream.throughput),
        "predicted / measured": float(ratio),
        "mean queue, measured": middle("measured", lambda stream: stream.queued.mean),
        "mean queue, predicted": middle(name, lambda stream: stream.queued.mean),
        "p95 queue, measured": middle("measured", lambda stream: stream.queued.p95),
        "p95 queue, predicted": middle(name, lambda stream: stream.queued.p95),
        "p95 answer, measured": middle("measured", lambda stream: stream.answered_after.p95),
        "p95 answer, predicted": middle(name, lambda stream: stream.answered_after.p95),
    }

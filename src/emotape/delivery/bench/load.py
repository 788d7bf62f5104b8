"""`emotape bench load`: import, load and first answer in fresh processes, and the memory that loading takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.bench import fresh, machine
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.recordings import recording
from emotape.delivery.bench.reference import installed
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, Subject, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PEER: Final = "FunASR"
_MEGABYTE: Final = 1e6

Row = dict[str, str | int | float | Spread | None]
Loads = dict[str, Timed[dict[str, Any]]]


@dataclass(frozen=True)
class LoadOptions:
    """Which model, the length of the first recording, which arithmetics, and how often."""

    choice: Choice = field(default_factory=Choice)
    seconds: float = 3.0
    dtypes: tuple[str, ...] = ("auto",)
    threads: int | None = None
    runs: int = 5


def measure(options: LoadOptions, tell: Callable[[str], None]) -> Findings:
    """Start processes in turns. FunASR is left out where it is not installed. Raises ModelFault and EngineFault."""
    peer = installed("funasr")
    threads = options.threads or machine.cores()
    with subject(options.choice, official=peer) as model, TemporaryDirectory(prefix="emotape-bench-") as folder:
        path = Path(folder) / "speech.wav"
        path.write_bytes(recording("wav", options.seconds))
        tell(f"importing, {options.runs} rounds")
        packages = ("emotape", "torch", *(["funasr"] if peer else []))
        imports = interleaved(
            [Side(name, lambda _, name=name: fresh.import_seconds(name)) for name in packages],  # type: ignore[misc]
            options.runs,
        )
        tell(f"loading {model.name}, {options.runs} rounds")
        loads = interleaved(_sides(model, path, threads, options.dtypes), options.runs)
        facts = model.facts() | {"seconds": options.seconds, "threads": threads, "runs": options.runs}
    notes = () if peer else ("funasr is not installed (pip install 'emotape[peer]'): it was left out",)
    return _findings({name: one.answers for name, one in imports.items()}, loads, facts, notes)


def _sides(model: Subject, path: Path, threads: int, dtypes: Sequence[str]) -> list[Side[dict[str, Any]]]:
    shared = {"recording": path, "threads": threads, "directory": model.directory}
    sides = [
        Side(f"emotape {dtype}", lambda _, dtype=dtype: fresh.play("emotape_load", dtype=dtype, **shared))  # type: ignore[misc]
        for dtype in dtypes
    ]
    if model.official is not None and installed("funasr"):
        sides.append(Side(PEER, lambda _: fresh.play("funasr_load", official=model.official, **shared)))
    return sides


def _findings(
    imports: dict[str, tuple[float, ...]], loads: Loads, facts: dict[str, object], notes: tuple[str, ...]
) -> Findings:
    tables = (
        Table("Importing, seconds", tuple({"package": name, "s": spread(taken)} for name, taken in imports.items())),
        Table(
            f"A fresh process with {facts['model']}: seconds and megabytes", tuple(_row(name, loads) for name in loads)
        ),
    )
    parts = ("import", "load", "answer", "from_start")
    bars = tuple(
        Bar(part.replace("_", " "), name, spread(_values(one, part))) for name, one in loads.items() for part in parts
    )
    samples: list[dict[str, object]] = [{"import": name, "took": taken} for name, taken in imports.items()]
    samples += [{"side": name, "rounds": one.answers} for name, one in loads.items()]
    chart = Chart(f"A fresh process: {facts['model']}", "seconds", bars)
    return Findings("load", facts, tables, (chart,), tuple(samples), notes)


def _row(name: str, loads: Loads) -> Row:
    found = loads[name]
    compared = PEER in loads and name != PEER
    return {
        "side": name,
        "arithmetic": found.answers[0]["arithmetic"],
        "import": spread(_values(found, "import")),
        "load": spread(_values(found, "load")),
        "first answer": spread(_values(found, "answer")),
        "start to answer": spread(_values(found, "from_start")),
        "× FunASR": times_faster(_values(loads[PEER], "from_start"), _values(found, "from_start"))
        if compared
        else None,
        "MB before": _megabytes(found, "resident_before"),
        "MB growth at peak": _megabytes(found, "growth"),
        "of it no file's": _megabytes(found, "growth_anonymous"),
    }


def _values(timed: Timed[dict[str, Any]], part: str) -> list[float]:
    return [answer[part] for answer in timed.answers]


def _megabytes(timed: Timed[dict[str, Any]], part: str) -> float | None:
    known = [answer[part] / _MEGABYTE for answer in timed.answers if answer[part] is not None]
    return spread(known).median if known else None

"""`emotape bench peers --baseline tutorial`: before and after, as a known tutorial found it.

Before: librosa reads an mp3, and every request builds the network and loads its weights anew. After: one resident
emotape. Both start as fresh processes, so that the first answer is an honest one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.bench import fresh
from emotape.delivery.bench.chart import Bar, Chart
from emotape.delivery.bench.pairing import Side, Spread, Timed, interleaved, spread, times_faster
from emotape.delivery.bench.recordings import recording
from emotape.delivery.bench.reference import require
from emotape.delivery.bench.report import Findings, Table
from emotape.delivery.bench.subject import Choice, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BEFORE: Final = "tutorial"

Row = dict[str, str | int | float | Spread | None]


@dataclass(frozen=True)
class TutorialOptions:
    """Which model and recording, how many answers after the first one, and how many processes of each kind."""

    choice: Choice = field(default_factory=Choice)
    seconds: float = 10.0
    threads: int = 2
    dtypes: tuple[str, ...] = ("auto",)
    requests: int = 3
    runs: int = 3


def measure(options: TutorialOptions, tell: Callable[[str], None]) -> Findings:
    """Start processes in turns. Raises BadRequest `bench_peer_missing`, ModelFault and EngineFault."""
    for package in ("funasr", "librosa"):
        require(package)
    with subject(options.choice, official=True) as model, TemporaryDirectory(prefix="emotape-bench-") as folder:
        path = Path(folder) / "speech.mp3"
        path.write_bytes(recording("mp3", options.seconds))
        shared = {"recording": path, "threads": options.threads, "requests": options.requests}
        sides = [Side(BEFORE, lambda _: fresh.play("tutorial_requests", official=model.official, **shared))]
        sides += [
            Side(
                f"emotape {dtype}",
                lambda _, dtype=dtype: fresh.play(  # type: ignore[misc]
                    "emotape_requests", directory=model.directory, dtype=dtype, **shared
                ),
            )
            for dtype in options.dtypes
        ]
        tell(f"{', '.join(side.name for side in sides)}: {options.runs} processes each")
        timed = interleaved(sides, options.runs)
        facts: dict[str, object] = {
            **model.facts(), "baseline": "tutorial", "seconds": options.seconds, "threads": options.threads,
            "requests": options.requests, "runs": options.runs,
        }  # fmt: skip
    return _findings(timed, facts)


def _findings(timed: dict[str, Timed[dict[str, Any]]], facts: dict[str, object]) -> Findings:
    answers = {name: one.answers for name, one in timed.items()}
    title = f"Before and after: {facts['model']}, {facts['seconds']:g} s of 44.1 kHz mp3, {facts['threads']} threads"
    bars = tuple(
        Bar(group, name, spread(values(found)))
        for group, values in (("first answer", firsts), ("later answers", laters))
        for name, found in answers.items()
    )
    samples = tuple({"side": name, "rounds": found} for name, found in answers.items())
    rows = tuple(_row(name, answers) for name in answers)
    return Findings("peers-tutorial", facts, (Table(title, rows),), (Chart(title, "seconds", bars),), samples)


def _row(name: str, answers: dict[str, tuple[dict[str, Any], ...]]) -> Row:
    found, before = answers[name], answers[BEFORE]
    peaks = [one["peak"] / 1e6 for one in found if one["peak"] is not None]
    return {
        "way": name,
        "arithmetic": found[0]["arithmetic"],
        "first answer s": spread(firsts(found)),
        "× first": None if name == BEFORE else times_faster(firsts(before), firsts(found)),
        "later answers s": spread([second for one in found for second in one["later"]]),
        "× later": None if name == BEFORE else times_faster(laters(before), laters(found)),
        "peak MB": spread(peaks).median if peaks else None,
        "cores busy %": 100 * spread([one["busy"] for one in found]).median,
    }


def firsts(found: Sequence[dict[str, Any]]) -> list[float]:
    """Return the seconds from the start of each process to its first answer."""
    return [one["first"] for one in found]


def laters(found: Sequence[dict[str, Any]]) -> list[float]:
    """Return the median of each process's later answers, in seconds."""
    return [spread(one["later"]).median for one in found]

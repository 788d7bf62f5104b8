"""A profile as a picture: the first answer and a later one, stage by stage over time. Texts are English."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.profiling.summary import STAGES
from emotape.delivery.profiling.text import duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.delivery.profiling.measure import Profile, Run
    from emotape.delivery.profiling.stopwatch import Lap

_MILLISECONDS: Final = 1000
_MEGABYTES: Final = 1e6


def draw(profile: Profile, path: Path) -> None:
    """Write a PNG: a panel for the first answer, and one for the later run in the middle of those of its kind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    first, later = profile.runs[0], _middle(profile)
    cold, warm = figure.subplots(2, 1)
    _draw(cold, (*profile.prelude, *first.laps), f"first answer (cold), {first.granularity}: {_name(first)}")
    _draw(warm, later.laps, f"later answer (warm), {later.granularity}: {_name(later)}")
    figure.savefig(path, dpi=120, format="png")


def _middle(profile: Profile) -> Run:
    """Return the run of the median time among those that did warm what the first one did."""
    first = profile.runs[0]
    alike = [run for run in profile.runs[1:] if (run.file, run.granularity) == (first.file, first.granularity)]
    return sorted(alike, key=lambda run: run.whole)[len(alike) // 2]


def _name(run: Run) -> str:
    name = run.file.name.encode("ascii", "replace").decode("ascii").replace("$", r"\$")
    return f"{name}, {run.audio_seconds:.1f} s"


def _draw(axes: Any, laps: Sequence[Lap], title: str) -> None:
    began = laps[0].before.at
    stages = [stage for stage in STAGES if any(lap.stage == stage for lap in laps)]
    for row, stage in enumerate(stages):
        mine = [lap for lap in laps if lap.stage == stage]
        bars = [((lap.before.at - began) * _MILLISECONDS, lap.seconds * _MILLISECONDS) for lap in mine]
        axes.broken_barh(bars, (row - 0.4, 0.8), color=f"C{STAGES.index(stage)}")
        total = duration(sum(lap.seconds for lap in mine))
        axes.annotate(f" {total}", (sum(bars[-1]), row), va="center", fontsize=8)
    axes.set(title=title, xlabel="ms", yticks=range(len(stages)), yticklabels=stages)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    if laps[0].before.resident is not None:
        _draw_memory(axes.twinx(), laps, began)


def _draw_memory(axes: Any, laps: Sequence[Lap], began: float) -> None:
    times = [(look.at - began) * _MILLISECONDS for look in (laps[0].before, *(lap.after for lap in laps))]
    looks = (laps[0].before, *(lap.after for lap in laps))
    axes.plot(times, [(look.resident or 0) / _MEGABYTES for look in looks], color="grey", linewidth=1)
    axes.set_ylabel("resident memory, MB", color="grey")
    axes.set_ylim(bottom=0)

"""A simulation as a picture: what comes, what waits, how long clips waited, and how many replicas there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from pathlib import Path

    from emotape.delivery.planning.simulation import Log
    from emotape.delivery.planning.simulation_traffic import Traffic

_BINS = 240


def plot(log: Log, traffic: Traffic, title: str, path: Path) -> None:
    """Write a PNG; texts are English. Raises BadRequest `output_unwritable`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, sharex=True)
    unit, name = (3600.0, "hours") if traffic.span > 2 * 3600 else (60.0, "minutes")
    _arrivals(axes[0], traffic, unit)
    _moments(axes[1], axes[3], log, unit)
    _waits(axes[2], log, traffic.span, unit)
    axes[0].set_title(title)
    axes[3].set_xlabel(name)
    if traffic.lost is not None:
        for each in axes:
            each.axvline(traffic.lost / unit, color="tab:red", linestyle=":", label="node lost")
    for each in (axes[0], axes[2], axes[3]):
        each.legend(fontsize=8, loc="upper right")
    try:
        figure.savefig(path, dpi=110, format="png")
    except OSError as error:
        raise BadRequest("output_unwritable", path=str(path), reason=error.strerror or str(error)) from error


def _arrivals(axes: Any, traffic: Traffic, unit: float) -> None:
    counts, edges = np.histogram(traffic.arrivals, _BINS, (0, traffic.span))
    axes.plot(edges[:-1] / unit, counts / (edges[1] - edges[0]), label="clips that arrive", linewidth=1)
    axes.set_ylabel("clips/s")


def _moments(waiting: Any, replicas: Any, log: Log, unit: float) -> None:
    when = [moment.when / unit for moment in log.moments]
    waiting.fill_between(when, [moment.waiting for moment in log.moments])
    waiting.set_ylabel("waiting, s of audio")
    ready = [moment.ready for moment in log.moments]
    replicas.step(when, ready, where="post", label="replicas ready")
    paid = [moment.ready + moment.starting for moment in log.moments]
    replicas.step(when, paid, where="post", linestyle="--", label="with those that start")
    replicas.set_ylabel("replicas")
    replicas.set_ylim(bottom=0)


def _waits(axes: Any, log: Log, span: float, unit: float) -> None:
    """Draw the median and the 95th of 100 of what clips that arrived in each part of the time waited."""
    started = [clip for clip in log.clips if clip.started is not None]
    parts = np.asarray([int(_BINS * clip.arrived / span) for clip in started])
    waits = np.asarray([(clip.started or 0.0) - clip.arrived for clip in started])
    found = np.unique(parts)
    when = (found + 0.5) * span / _BINS / unit
    for mark, name in ((0.5, "median"), (0.95, "95 %")):
        axes.plot(when, [np.quantile(waits[parts == part], mark) for part in found], label=name, linewidth=1)
    axes.set_ylabel("queue time, s")

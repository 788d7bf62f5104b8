"""Bars with their spread, as PNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emotape.delivery.bench.pairing import Spread


@dataclass(frozen=True)
class Bar:
    """One bar: its group on the axis, its series (colour), and its height with whiskers at the extremes."""

    group: str
    series: str
    height: Spread


@dataclass(frozen=True)
class Chart:
    """Bars that share an axis; `unit` names it."""

    title: str
    unit: str
    bars: tuple[Bar, ...]


def draw(charts: Sequence[Chart], path: Path, caption: str) -> None:
    """Write charts one below the other. Texts are English."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6 * len(charts) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, chart in zip(figure.subplots(len(charts), squeeze=False)[:, 0], charts, strict=True):
        _draw_chart(axes, chart)
    figure.supxlabel(caption, fontsize=8, color="grey")
    figure.savefig(path, dpi=120, format="png")


def _draw_chart(axes: Any, chart: Chart) -> None:
    groups = list(dict.fromkeys(bar.group for bar in chart.bars))
    series = list(dict.fromkeys(bar.series for bar in chart.bars))
    width = 0.8 / len(series)
    for place, name in enumerate(series):
        bars = [bar for bar in chart.bars if bar.series == name]
        middles = [groups.index(bar.group) + (place - (len(series) - 1) / 2) * width for bar in bars]
        heights = [bar.height.median for bar in bars]
        below = [bar.height.median - bar.height.lowest for bar in bars]
        above = [bar.height.highest - bar.height.median for bar in bars]
        drawn = axes.bar(middles, heights, width, label=name, yerr=[below, above], capsize=2)
        axes.bar_label(drawn, fmt="%.3g", fontsize=7, padding=2)
    axes.set(title=chart.title, ylabel=chart.unit, xticks=range(len(groups)), xticklabels=groups)
    axes.margins(y=0.15)
    if len(series) > 1:
        axes.legend(fontsize=8)

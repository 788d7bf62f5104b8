"""What a benchmark found: tables to read, numbers to keep, and where they were measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from emotape.delivery.bench.chart import Chart, draw
from emotape.delivery.bench.machine import Machine, load_average, look
from emotape.delivery.bench.pairing import Spread
from emotape.errors import BadRequest
from emotape.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

Cell = str | int | float | Spread | None


@dataclass(frozen=True)
class Table:
    """Rows by column heading; the first row has all the headings."""

    title: str
    rows: tuple[Mapping[str, Cell], ...]


@dataclass(frozen=True)
class Findings:
    """What one benchmark measured.

    settings  what was asked for
    samples   every single measurement, so that others can do the sums again
    notes     what a reader must know: what was left out, and why
    """

    benchmark: str
    settings: Mapping[str, object]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    samples: tuple[Mapping[str, object], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """Machine, time and load when a benchmark began."""

    machine: Machine = field(default_factory=look)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    load: tuple[float, float, float] | None = field(default_factory=load_average)


@dataclass(frozen=True)
class Report:
    """Findings in their surroundings; made when the benchmark ends."""

    findings: Findings
    before: Surroundings
    ended: datetime = field(default_factory=lambda: datetime.now(UTC))
    load: tuple[float, float, float] | None = field(default_factory=load_average)

    def text(self) -> str:
        """Return the report for a terminal; its tables are Markdown, too."""
        parts = [*(f"{table.title}\n\n{markdown(table)}" for table in self.findings.tables)]
        notes = [f"Note: {note}" for note in self.findings.notes]
        return "\n\n".join([*parts, "\n".join([*notes, *self._machine_lines()])]) + "\n"

    def record(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        found: dict[str, Any] = _plain(
            {
                "benchmark": self.findings.benchmark,
                "emotape": __version__,
                "began": self.before.began.isoformat(timespec="seconds"),
                "ended": self.ended.isoformat(timespec="seconds"),
                "machine": self.before.machine,
                "load_average": {"before": self.before.load, "after": self.load},
                "settings": self.findings.settings,
                "tables": self.findings.tables,
                "samples": self.findings.samples,
                "notes": self.findings.notes,
            }
        )
        return found

    def write(self, path: Path) -> tuple[Path, ...]:
        """Write JSON to `path`, which gets its ending, and beside it a plot of the charts, if there are any.

        Returns what was written. Raises BadRequest `output_unwritable`.
        """
        path = path if path.suffix == ".json" else path.with_name(f"{path.name}.json")
        pictures = (path.with_suffix(".png"),) if self.findings.charts else ()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.record(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            for picture in pictures:
                draw(self.findings.charts, picture, self._caption())
        except OSError as error:
            raise BadRequest("output_unwritable", path=str(path), reason=error.strerror or str(error)) from error
        return path, *pictures

    def _machine_lines(self) -> list[str]:
        machine = self.before.machine
        memory = f", {machine.memory / 2**30:.0f} GiB" if machine.memory else ""
        software = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
        asked = ", ".join(f"{name} {_listed(value)}" for name, value in self.findings.settings.items())
        return [
            f"Settings: {asked}",
            f"Machine: {machine.processor}, {machine.cores} cores ({' '.join(machine.instruction_sets)}){memory}",
            f"Software: emotape {__version__}, {software}, Python {machine.python}, {machine.system}",
            f"Load average before and after: {_load(self.before.load)}, {_load(self.load)}",
        ]

    def _caption(self) -> str:
        machine = self.before.machine
        return f"emotape {__version__} · {machine.processor}, {machine.cores} cores · {self.ended:%Y-%m-%d}"


def markdown(table: Table) -> str:
    """Return a table in Markdown, its columns aligned."""
    heads = list(table.rows[0])
    lines = [heads, *([shown(row.get(head)) for head in heads] for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    aligned = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    rule = ["-" * width for width in widths]
    return "\n".join(f"| {' | '.join(line)} |" for line in (aligned[0], rule, *aligned[1:]))


def shown(cell: Cell) -> str:
    """Return a cell as text: three figures, and of a spread the median with its extremes."""
    if cell is None:
        return "–"
    if isinstance(cell, Spread):
        return f"{_figures(cell.median)} ({_figures(cell.lowest)}–{_figures(cell.highest)})"
    return _figures(cell) if isinstance(cell, float) else str(cell)


def _figures(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _listed(value: object) -> str:
    return (
        "/".join(map(_listed, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _load(average: tuple[float, float, float] | None) -> str:
    return "unknown" if average is None else " ".join(f"{value:.2f}" for value in average)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value

"""One frame of `emotape top`: bars for what has a limit, numbers for what has none, stages, advice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from emotape.delivery.cli.show import bar, can_show
from emotape.delivery.cli.streams import printable
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from emotape.errors import EmotapeError
    from emotape.wording import Language

_GB: Final = 1e9
_LONGEST_BAR: Final = 40  # cells
_SHORTEST_BAR: Final = 4
_NAME: Final = 20
_VALUE: Final = 17
_GAPS: Final = 6
_HIGH: Final = 0.9
_MIDDLE: Final = 0.7


@dataclass(frozen=True)
class Line:
    """A name, what it is at, and the share of its limit, if it has one."""

    name: str
    value: str
    share: float | None = None
    alarming: bool = False


def frame(seen: dict[str, Any], console: Console, language: Language, fault: EmotapeError | None = None) -> Group:
    """Return what a terminal of the console's width shows; `fault` says why it is no longer up to date."""
    painter = _Painter(console, language)
    return Group(*painter.parts(seen, fault))


class _Painter:
    def __init__(self, console: Console, language: Language) -> None:
        self._language = language
        self._rich = can_show(console, "█▏·")
        room = console.width - _NAME - _VALUE - _GAPS
        self._bar = min(_LONGEST_BAR, room) if room >= _SHORTEST_BAR else 0

    def parts(self, seen: dict[str, Any], fault: EmotapeError | None) -> Iterator[RenderableType]:
        yield from self._head(seen, fault)
        yield self._lines(list(self._machine(seen)))
        yield self._lines(list(self._work(seen)))
        stages = list(self._stages(seen["stages"]))
        if stages:
            yield self._title("stages")
            yield self._lines(stages)
        yield self._title("advice")
        yield from self._advice(seen["advice"])

    def _head(self, seen: dict[str, Any], fault: EmotapeError | None) -> Iterator[Text]:
        state = self._word("ready") if seen["ready"] else self._word("not_ready")
        head = Text("emotape  ", style="bold").append(printable(seen["server"]), "cyan")
        yield head.append(f"  {state}", "green" if seen["ready"] else "yellow")
        if (model := seen["model"]) is not None:
            named = {name: printable(str(model.get(name, "?"))) for name in ("model", "device", "dtype")}
            yield Text(interface_text("top_model", self._language, **named), style="dim")
        if fault is not None:
            yield Text(fault.text(self._language).message, style="bold red")

    def _machine(self, seen: dict[str, Any]) -> Iterator[Line]:
        yield self._percent("cpu", seen["cpu_percent"] / 100)
        yield self._amount("memory", seen["memory_used"], seen["memory_total"])
        yield Line(self._word("process"), f"{seen.get('process_memory', 0) / _GB:.2f} GB")
        if seen.get("swap_used"):
            yield Line(self._word("swap"), f"{seen['swap_used'] / _GB:.2f} GB")
        for gpu in seen.get("gpus") or ():
            name = printable(gpu["name"])
            busy = gpu["utilisation"]
            yield Line(name, "–" if busy is None else f"{busy:.0f}%", None if busy is None else busy / 100)
            yield self._amount("gpu_memory", gpu["memory_used"], gpu["memory_total"])

    def _work(self, seen: dict[str, Any]) -> Iterator[Line]:
        waiting, bound = seen["queue_seconds"], seen.get("queue_bound")
        share = waiting / bound if bound else None
        limit = f" / {bound:,.0f}" if bound else ""
        yield Line(self._word("queue"), f"{waiting:,.1f}{limit} s", share, alarming=(share or 0.0) >= _MIDDLE)
        yield Line(self._word("under_way"), str(seen["requests_under_way"]))
        yield Line(self._word("requests"), f"{seen.get('requests_per_second', 0.0):.1f}")
        yield Line(self._word("realtime"), f"{seen.get('realtime_factor', 0.0):,.1f} ×")
        if seen["tape_fill"] is not None:
            yield self._percent("tape_fill", seen["tape_fill"], good=True)
        if seen.get("cache_hit_rate") is not None:
            yield self._percent("cache", seen["cache_hit_rate"], good=True)

    def _stages(self, stages: dict[str, float]) -> Iterator[Line]:
        total = sum(stages.values())
        for stage, seconds in stages.items():
            if total:
                name = interface_text(f"view_stage_{stage}", self._language)
                yield Line(name, f"{seconds / total:.0%}", seconds / total)

    def _advice(self, advice: list[dict[str, str]]) -> Iterator[Text]:
        if not advice:
            yield Text("  " + interface_text("view_no_advice", self._language), style="green")
        for line in advice:
            yield Text(f"  {printable(line['text'])}", style="yellow")

    def _percent(self, code: str, share: float, *, good: bool = False) -> Line:
        return Line(self._word(code), f"{share:.0%}", share, alarming=share >= _HIGH and not good)

    def _amount(self, code: str, used: float, total: float) -> Line:
        share = used / total if total else 0.0
        return Line(self._word(code), f"{used / _GB:.1f} / {total / _GB:.1f} GB", share, alarming=share >= _HIGH)

    def _lines(self, lines: list[Line]) -> Table:
        table = Table.grid(padding=(0, 1, 0, 1))
        table.add_column(no_wrap=True, overflow="ellipsis", width=_NAME if self._bar else None)
        if self._bar:
            table.add_column(no_wrap=True, width=self._bar)
        table.add_column(justify="right", no_wrap=True, width=_VALUE if self._bar else None)
        for line in lines:
            table.add_row(*self._cells(line))
        return table

    def _cells(self, line: Line) -> list[Text]:
        style = "red" if line.alarming else "green"
        middle = [self._drawn(line.share, style)] if self._bar else []
        return [Text(line.name), *middle, Text(line.value, "bold red" if line.alarming else "bold")]

    def _drawn(self, share: float | None, style: str) -> Text:
        """Return a bar on its track."""
        if share is None:
            return Text()
        full = bar(min(1.0, share), rich=self._rich, cells=self._bar).rstrip()
        return Text(full, style).append(("·" if self._rich else ".") * (self._bar - len(full)), "dim")

    def _title(self, code: str) -> Text:
        return Text(self._word(code), style="bold cyan")

    def _word(self, code: str) -> str:
        return interface_text(f"top_{code}", self._language)

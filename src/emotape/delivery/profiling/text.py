"""A profile for people at a terminal: a table of stages for the first answer, and one for later answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from emotape.delivery.cli.show import bar, can_show
from emotape.delivery.cli.streams import printable
from emotape.delivery.profiling.document import bottleneck, has_card
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from emotape.delivery.profiling.measure import Profile
    from emotape.delivery.profiling.summary import Breakdown, Cost, Summary
    from emotape.wording import Language

_BAR = 10  # cells


def show(profile: Profile, summary: Summary, console: Console, language: Language) -> None:
    """Print tables, comparison and advice."""
    for part in _Words(console, language, card=has_card(profile)).parts(profile, summary):
        console.print(part, soft_wrap=isinstance(part, Text))


class _Words:
    """The parts of a profile in one language."""

    def __init__(self, console: Console, language: Language, *, card: bool) -> None:
        self._language = language
        self._card = card
        self._rich = can_show(console, "█▏")

    def parts(self, profile: Profile, summary: Summary) -> Iterator[RenderableType]:
        """Give them one after the other."""
        model, first = profile.model, profile.runs[0]
        if model is not None:
            yield self._say("model", model=model.model, device=model.device, dtype=model.dtype)
        yield self._title("cold", file=printable(first.file.name), granularity=first.granularity)
        yield self._table(summary.cold)
        for granularity, found in summary.warm.items():
            facts = {"granularity": granularity, "repeat": profile.asked.repeat, "files": len(summary.files)}
            yield self._title("warm", **facts)
            yield self._table(found)
            yield from self._compared(found)
        if len(summary.files) > 1:
            yield from self._files(summary)
        yield from self._advice(profile, summary)

    def _table(self, found: Breakdown) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column(self._word("stage"), no_wrap=True)
        for column in self._columns():
            table.add_column(self._word(column), justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for stage, cost in found.costs.items():
            style = "bold yellow" if stage == found.bottleneck else None
            table.add_row(self._word(f"stage_{stage}"), *self._cells(cost, found.share(stage)), style=style)
        table.add_section()
        blank = [""] * (len(self._columns()) - 2)
        table.add_row(self._word("sum"), duration(found.stages_seconds), *blank, f"{found.covered:.1%}")
        table.add_row(self._word("whole"), duration(found.whole), style="bold")
        return table

    def _columns(self) -> list[str]:
        on_card = ["gpu_percent", "gpu_memory"] if self._card else []
        return ["seconds", "cpu_percent", *on_card[:1], "memory", *on_card[1:], "share"]

    def _cells(self, cost: Cost, share: float) -> list[str]:
        gpu = [f"{cost.gpu_percent:.0f}"] if self._card else []
        card = [growth(cost.card)] if self._card else []
        line = bar(share, rich=self._rich, cells=_BAR).rstrip()
        return [
            duration(cost.seconds),
            f"{cost.cpu_percent:.0f}",
            *gpu,
            growth(cost.resident),
            *card,
            f"{share:.1%}",
            line,
        ]

    def _compared(self, found: Breakdown) -> Iterator[Text]:
        if found.recognizer:
            facts = {
                "stages": duration(found.answer_seconds),
                "recognizer": duration(found.recognizer),
                "percent": 100 * (found.recognizer / found.answer_seconds - 1),
                "factor": found.audio / found.recognizer,
            }
            yield self._say("compared", **facts)

    def _files(self, summary: Summary) -> Iterator[RenderableType]:
        yield self._title("files")
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column(self._word("file"), overflow="fold")
        for column in ("granularity", "audio", "seconds", "bottleneck"):
            table.add_column(self._word(column), justify="right", no_wrap=True)
        for file, kinds in summary.files.items():
            for granularity, found in kinds.items():
                stage = self._word(f"stage_{found.bottleneck}")
                largest = f"{stage} {found.share(found.bottleneck):.0%}"
                name = Text(printable(file.name))
                table.add_row(name, granularity, duration(found.audio), duration(found.whole), largest)
        yield table

    def _advice(self, profile: Profile, summary: Summary) -> Iterator[Text]:
        found = bottleneck(profile, summary, self._language)
        for title, part in (("bottleneck_cold", found["cold"]), ("bottleneck_warm", found)):
            line = self._say(title, stage=self._word(f"stage_{part['stage']}"), percent=100 * part["share"])
            line.stylize("bold yellow")
            yield Text("\n") + line
            yield Text(f"  {part['advice']}")

    def _title(self, code: str, **facts: object) -> Text:
        return Text("\n" + interface_text(f"profile_title_{code}", self._language, **facts), style="bold cyan")

    def _say(self, code: str, **facts: object) -> Text:
        return Text(interface_text(f"profile_{code}", self._language, **facts))

    def _word(self, code: str) -> str:
        return interface_text(f"profile_{code}", self._language)


def duration(seconds: float) -> str:
    """Return a length of time in the unit in which it has few digits."""
    if abs(seconds) >= 1:
        return f"{seconds:.2f} s"
    return f"{1000 * seconds:.2f} ms" if abs(seconds) < 0.01 else f"{1000 * seconds:.0f} ms"


def growth(amount: float) -> str:
    """Return a growth of memory in megabytes."""
    megabytes = amount / 1e6
    return "0" if abs(megabytes) < 0.05 else f"{megabytes:+,.1f} MB"

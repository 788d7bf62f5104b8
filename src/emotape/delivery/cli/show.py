"""Results for people at a terminal: emoji, names and small bars; a table for one recording, a line each for many."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.cells import set_cell_size
from rich.console import Console
from rich.text import Text

from emotape.delivery.cli.streams import label_of, place_of, printable
from emotape.wording import Language, interface_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BAR: Final = 20  # cells
_NAME: Final = 10  # cells: the longest name of an official label is "Disgusted"


class Pretty:
    """Shows documents on a terminal; `names` is the language of the emotions, `language` that of all else."""

    def __init__(self, console: Console, language: Language, names: Language, *, single: bool) -> None:
        self._console = console
        self._language = language
        self._names = names
        self._single = single
        self._rich = can_show(console, "😊█▏")

    def show(self, found: dict[str, Any]) -> None:
        """Print one recording. Its errors are told on standard error instead."""
        if "error" in found:
            return
        self._headline(found)
        if self._single and found["details"]["labels"]:
            self._table(found)
        for segment in found["details"].get("segments", ()):
            self._segment(found, segment)
        self._remarks(found["details"])

    def close(self) -> None:
        """Nothing is open."""

    def _headline(self, found: dict[str, Any]) -> None:
        seconds = interface_text("seconds", self._language, seconds=found["details"]["seconds"])
        line = self._verdict(found, found["emotion"], found["confidence"])
        line.append(f"  {seconds:>9}  ", style="dim").append(printable(place_of(found)))
        self._print(line)

    def _table(self, found: dict[str, Any]) -> None:
        for key in sorted(found["scores"], key=found["scores"].__getitem__, reverse=True):
            style = "bold" if key == found["emotion"] else "dim"
            line = self._verdict(found, key, found["scores"][key])
            line.stylize(style)
            self._print(Text("  ") + line)

    def _segment(self, found: dict[str, Any], segment: dict[str, Any]) -> None:
        line = Text(f"  {clock(segment['start'])} – {clock(segment['stop'])}  ", style="cyan")
        self._print(line + self._verdict(found, segment["emotion"], segment["confidence"], silent=True))

    def _remarks(self, details: dict[str, Any]) -> None:
        if details.get("uncertain"):
            unsure = interface_text("uncertain", self._language, threshold=details["uncertain_below"])
            self._print(Text(f"  {unsure}", style="yellow"))
        for warning in details["warnings"]:
            note = interface_text("warning", self._language)
            self._print(Text(f"  {note}: {warning['text']}", style="yellow"))
        if "folder" in details:
            self._print(Text("  " + interface_text("saved", self._language, path=printable(details["folder"])), "dim"))

    def _verdict(self, found: dict[str, Any], key: str | None, share: float, *, silent: bool = False) -> Text:
        """Return emoji, name, percentage and bar of one emotion."""
        if key is None:
            missing = "silence" if silent else "no_emotion"
            return Text(interface_text(missing, self._language), style="dim")
        label = label_of(found, key)
        emoji = set_cell_size(label.emoji, 3) if self._rich else ""
        name = set_cell_size(label.name(self._names), _NAME)
        return Text(f"{emoji}{name} {share:7.1%} ") + Text(bar(share, rich=self._rich), style="green")

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


def bar(share: float, *, rich: bool = True, cells: int = _BAR) -> str:
    """Return a bar of `share` (0 to 1) in so many cells, in eighths of a cell where the terminal can show them."""
    if not rich:
        return ("#" * round(share * cells)).ljust(cells)[:cells]
    full, eighths = divmod(round(share * cells * 8), 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[eighths]).ljust(cells)[:cells]


def clock(seconds: float) -> str:
    """Return minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}" if hours else f"{minutes:02d}:{rest:05.2f}"


def terminal(*, stderr: bool = False) -> Console:
    """Return a console that prints texts as they are: file names may hold brackets and colons.

    Colours may be forced into a pipe (FORCE_COLOR), but a pipe is not interactive for that.
    """
    stream = sys.stderr if stderr else sys.stdout
    interactive = None if stream.isatty() else False
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, force_interactive=interactive)


@contextmanager
def progress(console: Console, total: int, language: Language, *, follow_output: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while many recordings are answered, if `console` is interactive; yield what advances it.

    `follow_output` says that standard output is the same terminal: its lines then appear above the bar.
    """
    if total < 2 or not console.is_interactive:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, redirect_stdout=follow_output) as live:
        task = live.add_task(interface_text("progress", language), total=total)
        yield lambda: live.advance(task)


def can_show(console: Console, text: str) -> bool:
    """Return whether a console's encoding has all characters of a text."""
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True

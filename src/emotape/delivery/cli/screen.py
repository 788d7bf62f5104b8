"""What a run shows: results on standard output in the form asked for, everything else on standard error."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from emotape.delivery.cli.show import Pretty, progress, terminal
from emotape.delivery.cli.streams import CsvRows, JsonArray, JsonLines, PlainLines, Printer, printable
from emotape.model.labels import official_first
from emotape.wording import interface_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emotape.delivery.cli.inputs import Skipped
    from emotape.delivery.cli.recognize import Request
    from emotape.model.labels import Label


class Screen:
    """The two output streams of one run."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._language = request.language
        self._err = terminal(stderr=True)
        self._printer: Printer = PlainLines(sys.stdout, None)
        self._advance = _nothing
        self._told_experimental = request.form in ("json", "jsonl")  # there it is a field of every result

    @contextmanager
    def opened(self, total: int, labels: tuple[Label, ...]) -> Iterator[None]:
        """Begin the results of `total` recordings; end them properly, also when the run is cut short."""
        speak_utf8(machine=self._request.form != "text")
        self._printer = self._chosen_printer(total, labels)
        try:
            with progress(self._err, total, self._language, follow_output=sys.stdout.isatty()) as advance:
                self._advance = advance
                yield
        finally:
            self._printer.close()

    def show(self, found: dict[str, Any]) -> None:
        """Show one result or error; say once that a model is experimental."""
        self._printer.show(found)
        if "error" in found and self._request.form == "text":
            self._tell_error(found)
        if found.get("details", {}).get("experimental"):
            self._tell_experimental()

    def advance(self) -> None:
        """Move the progress bar on by one recording."""
        self._advance()

    def summarise(self, done: int, failed: int, resumed: int) -> None:
        """Tell how many went how, where there is anything to tell."""
        total = done + failed
        if resumed:
            self._note(interface_text("resumed", self._language, count=resumed, total=total))
        if failed and total > 1:
            self._note(interface_text("summary", self._language, done=done, failed=failed))
        if self._request.granularity == "frame" and self._request.form == "text" and not self._request.output:
            self._note(interface_text("frames_elsewhere", self._language))

    def tell_skipped(self, skipped: Sequence[Skipped]) -> None:
        """Tell what folders held beside audio."""
        for folder in skipped:
            parts = [
                interface_text("skipped_files", self._language, count=count, ending=printable(ending))
                for ending, count in folder.endings
            ]
            if folder.folders:
                parts.append(interface_text("skipped_folders", self._language, count=folder.folders))
            what = ", ".join(parts)
            self._note(interface_text("skipped", self._language, folder=printable(folder.folder), what=what))

    def _chosen_printer(self, total: int, labels: tuple[Label, ...]) -> Printer:
        request = self._request
        if request.form == "json":
            return JsonArray(sys.stdout)
        if request.form == "jsonl":
            return JsonLines(sys.stdout)
        if request.form == "csv":
            return CsvRows(
                sys.stdout, [label.key for label in official_first(labels)], split=request.channels == "split"
            )
        if not sys.stdout.isatty():
            return PlainLines(sys.stdout, request.names)
        names = request.names or self._language
        return Pretty(terminal(), self._language, names, single=total == 1)

    def _tell_error(self, found: dict[str, Any]) -> None:
        error = found["error"]
        self._note(
            f"{printable(found['file'])}: {error['message']} [{error['code']}]\n"
            f"  {interface_text('error_cause', self._language)}: {error['cause']}\n"
            f"  {interface_text('error_cure', self._language)}: {error['cure']}"
        )

    def _tell_experimental(self) -> None:
        if not self._told_experimental:
            self._told_experimental = True
            self._note(interface_text("experimental", self._language))

    def _note(self, text: str) -> None:
        safe = text.encode(self._err.encoding, "backslashreplace").decode(self._err.encoding)
        self._err.print(safe, soft_wrap=True)


def speak_utf8(*, machine: bool) -> None:
    """Let no name stop the output: JSON and CSV are UTF-8 everywhere, and what cannot be encoded is escaped."""
    if isinstance(sys.stdout, TextIOWrapper):
        encoding = "utf-8" if machine else sys.stdout.encoding
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def _nothing() -> None:
    """Advance no bar."""

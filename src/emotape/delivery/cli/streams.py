"""Results for programs: a JSON array, JSON lines, CSV, or plain tab-separated lines, written as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TextIO

from emotape.delivery.export import json_line, results_csv_header, results_csv_row
from emotape.model.labels import OFFICIAL, Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emotape.wording import Language


class Printer(Protocol):
    """Shows the documents of `emotape.delivery.export.document` one after another."""

    def show(self, found: dict[str, Any]) -> None:
        """Show one recording, or one channel of it, or its error."""

    def close(self) -> None:
        """End what was begun, also when the run was interrupted."""


class JsonArray:
    """One array with one object per recording, whole even when Ctrl-C cuts `show` short between its lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lead = "\n"
        stream.write("[")

    def show(self, found: dict[str, Any]) -> None:
        """Write one element."""
        self._stream.write(self._lead + json_line(found))
        self._lead = ",\n"
        self._stream.flush()

    def close(self) -> None:
        """Close the array."""
        self._stream.write("\n]\n")
        self._stream.flush()


class JsonLines:
    """One object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, found: dict[str, Any]) -> None:
        """Write one line."""
        self._stream.write(json_line(found) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is open."""


class CsvRows:
    """A heading and one row per recording (per channel with `split`)."""

    def __init__(self, stream: TextIO, labels: Sequence[str], *, split: bool) -> None:
        self._stream = stream
        self._labels = labels
        self._split = split
        stream.write(results_csv_header(labels, split=split))

    def show(self, found: dict[str, Any]) -> None:
        """Write one row."""
        self._stream.write(results_csv_row(found, self._labels, split=self._split))
        self._stream.flush()

    def close(self) -> None:
        """Nothing is open."""


class PlainLines:
    """Tab-separated lines for `cut` and `awk`: file, emotion, confidence; per segment start and stop before them.

    Emotions are keys unless names in a language are asked for. Errors are not part of it.
    """

    def __init__(self, stream: TextIO, names: Language | None) -> None:
        self._stream = stream
        self._names = names

    def show(self, found: dict[str, Any]) -> None:
        """Write the lines of one recording."""
        if "error" in found:
            return
        file = printable(place_of(found))
        for segment in found["details"].get("segments", ()):
            if segment["emotion"] is not None:
                self._write(file, f"{segment['start']:.2f}", f"{segment['stop']:.2f}", *self._verdict(found, segment))
        if "segments" not in found["details"]:
            self._write(file, *self._verdict(found, found))
        self._stream.flush()

    def close(self) -> None:
        """Nothing is open."""

    def _verdict(self, found: dict[str, Any], scored: dict[str, Any]) -> tuple[str, str]:
        emotion = scored["emotion"]
        if emotion is None:
            return "-", "-"
        name = emotion if self._names is None else label_of(found, emotion).name(self._names)
        return name, f"{scored['confidence']:.3f}"

    def _write(self, *cells: str) -> None:
        self._stream.write("\t".join(cells) + "\n")


def label_of(found: dict[str, Any], key: str) -> Label:
    """Return the label that a document calls `key`: an official one, or one of the model's own."""
    official = {label.key: label for label in OFFICIAL}
    if key in official:
        return official[key]
    names = found["details"]["labels"][key]
    return Label(key, names["en"], names["zh"], names["zh"], names["emoji"])


def place_of(found: dict[str, Any]) -> str:
    """Return the recording's name, with its channel where channels are kept apart."""
    channel = found.get("details", {}).get("channel")
    return str(found["file"]) if channel is None else f"{found['file']}#{channel}"


def printable(name: str) -> str:
    """Return `name` with control characters and undecodable bytes written as escapes, so that it stays one line."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name)

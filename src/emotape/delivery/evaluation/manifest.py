"""A manifest: which recordings there are, what is felt in them, and which of them count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.evaluation.names import PLAIN, LabelNames
from emotape.delivery.labelled_table import Line, place_of, read_table
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

LEFTOVERS: Final = frozenset({"other", "unknown"})  # what a corpus cannot name is no emotion to recognise


@dataclass(frozen=True)
class Row:
    """One recording of a manifest. `label` is None where `error` says why there is none to compare with.

    `line` is that of the manifest; 0 where a folder is read.
    """

    line: int
    file: str
    path: Path
    label: str | None
    speaker: str = ""
    error: EmotapeError | None = None
    corpus: str = ""
    fold: str = ""

    @property
    def source(self) -> Path | EmotapeError:
        """What a batch answers."""
        return self.error or self.path

    @property
    def place(self) -> str:
        """How a list of errors names it."""
        return place_of(self.line, self.file)


@dataclass(frozen=True)
class Choice:
    """Which rows count: those of `speakers` (all when empty), without other and unknown unless `leftovers`."""

    speakers: frozenset[str] = frozenset()
    leftovers: bool = False

    @classmethod
    def of(cls, speakers: str | Iterable[str], *, leftovers: bool) -> Choice:
        """Return the choice of speakers by their names, or by a text of names with commas."""
        names = speakers.split(",") if isinstance(speakers, str) else speakers
        return cls(frozenset(name.strip() for name in names if name.strip()), leftovers)

    def hears(self, row: Row) -> bool:
        """Return whether a row's speaker is one of those asked for."""
        return not self.speakers or row.speaker in self.speakers

    def takes(self, row: Row) -> bool:
        """Return whether a row counts. A row whose label is not known does: it is an error to report."""
        return self.hears(row) and (self.leftovers or row.label not in LEFTOVERS)


def read_manifest(path: Path, names: LabelNames = PLAIN) -> tuple[Row, ...]:
    """Return the rows of a CSV with the columns file and label, paths relative to it, or of a folder.

    A CSV may also have corpus, speaker, and fold or split. `names` says what a label means.

    Raises BadRequest as `read_table` does.
    """
    return read_table(path, lambda line: _row(line, names))


def _row(line: Line, names: LabelNames) -> Row:
    cells = line.cells
    speaker, corpus = cells.get("speaker", "").strip(), cells.get("corpus", "").strip()
    fold = (cells.get("fold") or cells.get("split") or "").strip()
    key = names.find(cells["label"], corpus)
    error = _unknown(cells["label"], line, names) if key is None or not names.has(key) else None
    return Row(line.number, line.file, line.path, None if error else key, speaker, error, corpus, fold)


def _unknown(label: str, line: Line, names: LabelNames) -> BadRequest:
    known = ", ".join(names.known)
    return BadRequest("unknown_label", label=label.strip(), line=line.number, place=line.place, known=known)


def choose(rows: Sequence[Row], choice: Choice, manifest: Path) -> tuple[Row, ...]:
    """Return the rows that count. Raises BadRequest ("manifest_empty") when none does."""
    chosen = tuple(row for row in rows if choice.takes(row))
    if not chosen:
        raise BadRequest("manifest_empty", path=str(manifest), rows=len(rows), left_out=len(rows))
    return chosen


def unknown_labels(rows: Sequence[Row], choice: Choice) -> dict[str, int]:
    """Return how many rows have each label that the model does not know."""
    return dict(Counter(str(row.error.facts["label"]) for row in rows if choice.hears(row) and row.error is not None))


def left_out(rows: Sequence[Row], choice: Choice) -> dict[str, int]:
    """Return how many rows of each label do not count, though their speakers do."""
    return dict(Counter(str(row.label) for row in rows if choice.hears(row) and not choice.takes(row)))

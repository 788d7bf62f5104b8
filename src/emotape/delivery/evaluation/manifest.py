"""A manifest: which recordings there are, what is felt in them, and which of them count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from emotape.delivery.evaluation.names import PLAIN, LabelNames
from emotape.delivery.labelled_table import read_table
from emotape.errors import BadRequest, EmotapeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LEFTOVERS: Final = frozenset({"other", "unknown"})  # what a corpus cannot name is no emotion to recognise


@dataclass(frozen=True)
class Row:
    """One recording of a manifest. `label` is None where `error` says why there is none to compare with."""

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


@dataclass(frozen=True)
class Choice:
    """Which rows count: those of `speakers` (all when empty), without other and unknown unless `leftovers`."""

    speakers: frozenset[str] = frozenset()
    leftovers: bool = False

    def hears(self, row: Row) -> bool:
        """Return whether a row's speaker is one of those asked for."""
        return not self.speakers or row.speaker in self.speakers

    def takes(self, row: Row) -> bool:
        """Return whether a row counts. A row whose label is not known does: it is an error to report."""
        return self.hears(row) and (self.leftovers or row.label not in LEFTOVERS)


def read_manifest(path: Path, names: LabelNames = PLAIN) -> tuple[Row, ...]:
    """Return the rows of a CSV with the columns file and label; paths relative to it.

    It may also have corpus, speaker, and fold or split. `names` says what a label means.

    Raises BadRequest: "manifest_unreadable" or "manifest_columns".
    """
    return read_table(path, lambda line, cells: _row(line, cells, path.parent, names))


def _row(line: int, cells: Mapping[str, str], folder: Path, names: LabelNames) -> Row:
    speaker, corpus = cells.get("speaker", "").strip(), cells.get("corpus", "").strip()
    fold = (cells.get("fold") or cells.get("split") or "").strip()
    key = names.find(cells["label"], corpus)
    error = _unknown(cells["label"], line, names) if key is None or not names.has(key) else None
    file = cells["file"].strip()
    return Row(line, file, folder / file, None if error else key, speaker, error, corpus, fold)


def _unknown(label: str, line: int, names: LabelNames) -> BadRequest:
    return BadRequest("unknown_label", label=label.strip(), line=line, known=", ".join(names.known))


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

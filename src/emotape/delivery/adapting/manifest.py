"""What a model is adapted to: recordings, what each is labelled, who speaks, and which part it belongs to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from emotape.delivery.adapting.labels import key_of
from emotape.delivery.labelled_table import Line, place_of, read_table
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from emotape.model.labels import Label

Part = Literal["", "train", "dev", "test"]

_PARTS: Final[Mapping[str, Part]] = {
    "": "",
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


@dataclass(frozen=True)
class Sample:
    """One labelled recording. `name` is the label as the manifest has it, `label` the key of the class it means.

    `line` is that of the manifest; 0 where a folder is read.
    """

    line: int
    file: str
    path: Path
    name: str
    label: str
    speaker: str = ""
    part: Part = ""

    @property
    def source(self) -> Path:
        """What a batch answers."""
        return self.path

    @property
    def place(self) -> str:
        """How a list of errors names it."""
        return place_of(self.line, self.file)


def read_samples(manifest: Path, dev: Path | None = None) -> tuple[Sample, ...]:
    """Return the rows of a CSV with the columns file and label, and optionally speaker and split, or of a folder.

    Paths are relative to the manifest. The rows of `dev` are the dev part, all others then train; rows of the part
    "test" are left out. Raises BadRequest: those of `read_table`, "adapt_manifest_empty", "adapt_part_unknown",
    "adapt_label_name".
    """
    rows = _kept(manifest)
    if dev is not None:
        held = [replace(row, part="dev") for row in _kept(dev)]
        rows = [replace(row, part="train") for row in rows if row.part != "dev"] + held
    if not rows:
        raise BadRequest("adapt_manifest_empty", path=str(manifest))
    return tuple(rows)


def labelled(samples: Sequence[Sample], labels: Sequence[Label]) -> tuple[Sample, ...]:
    """Return the samples of these labels, which say how a key is spelt."""
    keys = {label.key.casefold(): label.key for label in labels}
    return tuple(
        replace(sample, label=keys[sample.label.casefold()]) for sample in samples if sample.label.casefold() in keys
    )


def merged_names(samples: Sequence[Sample]) -> dict[str, tuple[str, ...]]:
    """Return the names of every label that the manifest calls by more than one ("joy" and "happy", say)."""
    names = {sample.label: {other.name for other in samples if other.label == sample.label} for sample in samples}
    return {key: tuple(sorted(found)) for key, found in names.items() if len({name.casefold() for name in found}) > 1}


def counts(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many samples each label has."""
    return dict(Counter(sample.label for sample in samples))


def _kept(manifest: Path) -> list[Sample]:
    """Return the rows that are no test."""
    samples = read_table(manifest, lambda line: _row(line, manifest))
    return [sample for sample in samples if sample.part != "test"]


def _row(line: Line, manifest: Path) -> Sample:
    name, said, speaker = (line.cells.get(column, "").strip() for column in ("label", "split", "speaker"))
    part = _PARTS.get(said.lower())
    if part is None:
        raise BadRequest("adapt_part_unknown", part=said, line=line.number, path=str(manifest))
    key = key_of(name)
    if key is None or not line.file:
        raise BadRequest("adapt_label_name", name=name, place=line.place)
    return Sample(line.number, line.file, line.path, name, key, speaker, part)

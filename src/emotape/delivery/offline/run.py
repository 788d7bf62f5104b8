"""One run of a batch: what is not done yet goes through an engine, and every answer into the output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from emotape.delivery.cli.inputs import LISTS
from emotape.delivery.offline.answers import AT_ONCE, packed
from emotape.delivery.offline.folder import FolderSource, holds_parquet
from emotape.delivery.offline.forms import check_pyarrow
from emotape.delivery.offline.manifest import CsvSource, JsonLinesSource, ListSource
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from emotape.delivery.offline.answers import Answers
    from emotape.delivery.offline.forms import Form
    from emotape.delivery.offline.item import Item, Source
    from emotape.delivery.offline.local import LocalEngine
    from emotape.delivery.offline.output import Output
    from emotape.delivery.offline.rows import Asked

PARQUET: Final = frozenset({".parquet", ".pq"})
_JSON: Final = frozenset({".jsonl", ".ndjson"})
_TABLES: Final = {".csv": ",", ".tsv": "\t"}


class Engine(Protocol):
    """Answers recordings, on this machine or on many."""

    def answers(self, items: Iterable[Item]) -> Iterator[Answers]:
        """Yield the answers as they come; together they hold one row for every item."""


@dataclass
class Tally:
    """What a run has done so far: recordings that were done before, answered now and failed now; seconds of audio."""

    known: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def now(self) -> int:
        """Recordings that this run is through with."""
        return self.done + self.failed


@dataclass(frozen=True)
class OneMachine:
    """The engine of this machine, its rows in `form`."""

    engine: LocalEngine
    form: Form

    def answers(self, items: Iterable[Item]) -> Iterator[Answers]:
        """Yield what is done by now, each time something is."""
        for rows in self.engine.rows(items, AT_ONCE):
            if rows:
                yield packed(rows, self.form)


def source_of(path: Path, output: Path) -> Source:
    """Return the recordings that a folder, a Parquet file or a manifest names; `output` is not entered.

    Raises BadRequest: "unreadable", "batch_input_unknown" or "batch_needs_pyarrow".
    """
    if path.is_dir():
        return _dataset(path) if holds_parquet(path) else FolderSource(path, output)
    ending = path.suffix.lower()
    if not path.is_file():
        raise BadRequest("unreadable", path=str(path), reason="No such file or directory")
    if ending in PARQUET:
        return _dataset(path)
    if ending in _TABLES:
        return CsvSource(path, _TABLES[ending])
    if ending in _JSON:
        return JsonLinesSource(path)
    if ending in LISTS:
        return ListSource(path)
    raise BadRequest("batch_input_unknown", path=str(path))


def _dataset(path: Path) -> Source:
    check_pyarrow()
    from emotape.delivery.offline.dataset import ParquetSource

    return ParquetSource(path)


def facts_of(asked: Asked, source: Path, form: Form) -> dict[str, Any]:
    """Return what a command asks, in values that JSON holds: one that asks something else is another command."""
    facts = {
        "input": str(source.resolve()),
        "form": form.suffix,
        "granularity": asked.granularity,
        "embedding": asked.embedding,
        "quality": asked.quality,
        "labels": asked.scores,
        "columns": {column.name: column.kind for column in asked.carried},
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def run(source: Source, output: Output, engine: Engine, told: Callable[[Tally], object]) -> Tally:
    """Answer what is not done yet; `told` hears of every step. However it ends, what was answered is kept.

    Raises BadRequest ("batch_nothing") when the source names no recording at all.
    """
    tally = Tally()
    try:
        for answers in engine.answers(_pending(source, output, tally)):
            output.add(answers)
            tally.done += answers.rows - answers.failed
            tally.failed += answers.failed
            tally.seconds += answers.seconds
            told(tally)
    finally:
        output.flush()
    if not tally.now and not tally.known:
        raise BadRequest("batch_nothing")
    output.finish()
    return tally


def _pending(source: Source, output: Output, tally: Tally) -> Iterator[Item]:
    """Yield each recording that the output does not know; of equal ones only the first."""
    for item in source.items():
        if output.known.add(item.key()):
            yield item
        else:
            tally.known += 1

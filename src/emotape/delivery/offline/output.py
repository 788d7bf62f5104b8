"""The output of a batch: a folder of parts, each whole or not there, and the journal of what is in no part yet.

A recording is done when its row is in a part or in the journal. A part is written under a name that does not count,
brought to the disk and renamed; then the journal is emptied. Whatever moment a kill strikes, the rows of a journal are
in a part all together or not at all, so none is lost and none stands twice.

    _batch.json             what was asked, and what calculated: another command is refused
    _lock                   held by the process that writes
    _journal                rows since the last part
    part-000000.parquet …   the results

Where one file is wanted, the folder stands beside it until the end; then the parts are joined, and the folder goes.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from emotape.delivery.offline.files import LOCK, locked, remove_partial, write_json, write_whole, writing
from emotape.delivery.offline.journal import Journal
from emotape.delivery.offline.keys import Keys
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from emotape.delivery.offline.answers import Answers
    from emotape.delivery.offline.forms import Form, Known

HEADER: Final = "_batch.json"
JOURNAL: Final = "_journal"
BYTES: Final = 64 * 1024**2  # of rows in one part, before compression
_FORMAT: Final = 2
"""Which columns there are; 1 had no `uncertain`."""


@dataclass(frozen=True)
class Place:
    """Where results go: into `folder` as parts of at most `rows` rows, and in the end into `single`, if it is given."""

    folder: Path
    single: Path | None = None
    rows: int = 20_000


class Output:
    """The results of one command, opened by one process at a time.

    `asked` says what is asked of every recording, in values that JSON holds. `known` are the keys of what is done,
    `done` and `failed` count it. Raises BadRequest: "batch_busy", "batch_foreign", "batch_other_format",
    "batch_other_command", "batch_damaged" or "output_unwritable".
    """

    def __init__(self, place: Place, form: Form, asked: Mapping[str, Any]) -> None:
        self.known = Keys()
        self.done = 0
        self.failed = 0
        self._header: dict[str, Any] = {}
        self._place = place
        self._folder = place.folder
        self._form = form
        self._ended = False
        with ExitStack() as held, writing(self._folder):
            self._open(held, asked)
            self._held = held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        if self._ended and self._place.single is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold results, oldest first."""
        return (*self._joined, *self._parts)

    def settle(self, arithmetic: Mapping[str, str]) -> None:
        """Note what calculates. Raises BadRequest ("batch_other_arithmetic") when other rows come from another."""
        noted = self._header["arithmetic"]
        if noted is None:
            self._header = {**self._header, "arithmetic": dict(arithmetic)}
            write_json(self._folder / HEADER, self._header)
        elif noted != arithmetic:
            raise BadRequest("batch_other_arithmetic", path=str(self._folder), **_difference(noted, arithmetic))

    def add(self, answers: Answers) -> None:
        """Keep rows for good. Raises BadRequest ("output_unwritable", "batch_other_arithmetic")."""
        with writing(self._folder):
            if answers.arithmetic is not None:
                self.settle(answers.arithmetic)
            self._journal.add(answers.payload)
            self._journaled += answers.rows
            self.done += answers.rows - answers.failed
            self.failed += answers.failed
            if self._journaled >= self._place.rows or self._journal.size >= BYTES:
                self._write_part()

    def flush(self) -> None:
        """Write what the journal holds as a part."""
        with writing(self._folder):
            if self._journal.payloads:
                self._write_part()

    def finish(self) -> None:
        """Write the last part, and join the parts where one file is wanted: everything is done."""
        self.flush()
        single = self._place.single
        if single is None:
            return
        from emotape.delivery.offline.parquet import join

        with writing(single):
            if self._parts or not self._joined:
                about = {**self._header, "parts": self._next}
                write_whole(single, lambda file: join(self.files, file, self._form, about))
        self._ended = True

    def forget_passing(self) -> None:
        """Take out the recordings that failed for a passing reason, so that they are answered again."""
        self.flush()
        with writing(self._folder):
            for path in self.files:
                if any(known.passing for known in self._read(path)):
                    self._rewrite(path)
        self.known, self.done, self.failed = Keys(), 0, 0
        for path in self.files:
            self._count(self._read(path))

    def _open(self, held: ExitStack, asked: Mapping[str, Any]) -> None:
        """Take the folder, and find out what is done."""
        self._folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(self._folder))
        self._joined = tuple(path for path in (self._place.single,) if path is not None and path.exists())
        self._header = self._checked_header(asked)
        remove_partial(self._folder)
        self._parts = self._kept_parts()
        self._journal = Journal(self._folder / JOURNAL)
        held.callback(self._journal.close)
        for path in self.files:
            self._count(self._read(path))
        self._count(self._recovered())

    def _checked_header(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the output says of itself, written now if it is new. Raises BadRequest when it is another's."""
        noted = self._noted()
        if noted is None:
            noted = {"format": _FORMAT, "asked": dict(asked), "arithmetic": None}
            write_json(self._folder / HEADER, noted)
        if noted["format"] != _FORMAT:
            raise BadRequest("batch_other_format", path=str(self._folder), noted=noted["format"], wanted=_FORMAT)
        if noted["asked"] != asked:
            raise BadRequest("batch_other_command", path=str(self._folder), **_difference(noted["asked"], asked))
        return noted

    def _noted(self) -> dict[str, Any] | None:
        """Return the note in the folder or in the joined file; None for an output that is new."""
        try:
            noted: dict[str, Any] = json.loads((self._folder / HEADER).read_text("utf-8"))
        except FileNotFoundError:
            return self._noted_in_file()
        except ValueError as error:
            raise BadRequest("batch_damaged", path=str(self._folder / HEADER), reason=str(error)) from error
        return noted

    def _noted_in_file(self) -> dict[str, Any] | None:
        if not self._joined:
            if any(path.name != LOCK and not path.name.startswith(f"_{HEADER}") for path in self._folder.iterdir()):
                raise BadRequest("batch_foreign", path=str(self._folder))
            return None
        about = self._about_joined()
        if about is None:
            raise BadRequest("batch_foreign", path=str(self._joined[0]))
        write_json(self._folder / HEADER, about)
        return about

    def _about_joined(self) -> dict[str, Any] | None:
        """Return what the joined file says of itself; None for a file of somebody else's."""
        from emotape.delivery.offline.parquet import read_about

        try:
            return read_about(self._joined[0])
        except Exception as error:
            raise BadRequest("batch_damaged", path=str(self._joined[0]), reason=str(error)) from error

    def _kept_parts(self) -> list[Path]:
        """Return the parts that the joined file does not hold; one that it holds was left over by a kill."""
        joined = (self._about_joined() or {}).get("parts", 0) if self._joined else 0
        parts = sorted(self._folder.glob(f"part-*{self._form.suffix}"))
        for path in parts:
            if _number(path) < joined:
                path.unlink()
        kept = [path for path in parts if _number(path) >= joined]
        self._next = max([joined, *(_number(path) + 1 for path in kept)])
        return kept

    def _recovered(self) -> list[Known]:
        """Return what the journal holds; one whose rows are in a part already has done its service."""
        kept = [known for payload in self._journal.payloads for known in self._form.known(payload)]
        if kept and kept[0].key in self.known:
            self._journal.clear()
            kept = []
        self._journaled = len(kept)
        return kept

    def _count(self, found: Iterable[Known]) -> None:
        for known in found:
            self.known.add(known.key)
            self.failed += known.failed
            self.done += not known.failed

    def _read(self, path: Path) -> Iterator[Known]:
        try:
            yield from self._form.read(path)
        except Exception as error:
            raise BadRequest("batch_damaged", path=str(path), reason=str(error)) from error

    def _rewrite(self, path: Path) -> None:
        write_whole(path, lambda file: self._form.without_passing(path, file))

    def _write_part(self) -> None:
        path = self._folder / f"part-{self._next:06d}{self._form.suffix}"
        write_whole(path, lambda file: self._form.write(self._journal.payloads, file, self._header))
        self._parts.append(path)
        self._next += 1
        self._journal.clear()
        self._journaled = 0


def _number(part: Path) -> int:
    return int(part.stem.rpartition("-")[2])


def _difference(noted: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return the first thing in which two commands differ, as facts of an error."""
    names = [name for name in {**noted, **wanted} if noted.get(name) != wanted.get(name)]
    name = names[0]
    return {"what": name, "noted": str(noted.get(name)), "wanted": str(wanted.get(name))}

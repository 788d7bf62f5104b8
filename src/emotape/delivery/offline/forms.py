"""How rows are written: as Parquet, or without pyarrow as JSON lines. One law for both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol

from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from emotape.delivery.offline.rows import Asked, Row

ABOUT: Final = b"emotape"
"""Under this key, a Parquet file's metadata say what its rows were made from, as JSON."""


class Known(NamedTuple):
    """What a row says of its recording: its key, and whether it failed, for a passing reason."""

    key: bytes
    failed: bool
    passing: bool


class Form(Protocol):
    """Turns rows into payloads, and payloads into files. A payload can be read back alone."""

    @property
    def suffix(self) -> str:
        """The ending of a part's name."""

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return rows as one payload."""

    def known(self, payload: bytes) -> Iterator[Known]:
        """Yield what each row of a payload is about."""

    def write(self, payloads: Sequence[bytes], file: BinaryIO, about: Mapping[str, Any]) -> None:
        """Write a part."""

    def read(self, path: Path) -> Iterator[Known]:
        """Yield what each row of a part is about. Raises what its library raises for a damaged one."""

    def without_passing(self, path: Path, file: BinaryIO) -> None:
        """Copy a part, leaving out the recordings that failed for a passing reason."""


@dataclass(frozen=True)
class JsonRows:
    """JSON lines; arrays are lists, keys hexadecimal."""

    asked: Asked
    suffix: str = ".jsonl"

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return a line for each row, all with the same keys."""
        names = [*self.asked.fields(), *self.asked.carried_as().values()]
        whole = ({name: row.get(name) for name in names} for row in rows)
        return "".join(json.dumps(row, ensure_ascii=False, default=_plain) + "\n" for row in whole).encode()

    def known(self, payload: bytes) -> Iterator[Known]:
        """Yield what each line is about."""
        return _known_lines(payload.splitlines())

    def write(self, payloads: Sequence[bytes], file: BinaryIO, about: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Write the lines. What they were made from stands in the folder's own file."""
        file.writelines(payloads)

    def read(self, path: Path) -> Iterator[Known]:
        """Yield what each line of a part is about."""
        with path.open("rb") as file:
            yield from _known_lines(file)

    def without_passing(self, path: Path, file: BinaryIO) -> None:
        """Copy the lines but those of passing failures."""
        with path.open("rb") as lines:
            file.writelines(line for line in lines if not json.loads(line)["error_passing"])


def _known_lines(lines: Iterable[bytes]) -> Iterator[Known]:
    for line in lines:
        row = json.loads(line)
        yield Known(bytes.fromhex(row["key"]), row["error_code"] is not None, bool(row["error_passing"]))


def _plain(value: Any) -> Any:
    """Return an array as lists, a key in hexadecimal digits, and anything else (dates from Parquet, say) as text."""
    if isinstance(value, bytes):
        return value.hex()
    return value.tolist() if hasattr(value, "tolist") else str(value)


def form_of(asked: Asked, *, as_json: bool) -> Form:
    """Return the form of the results. Raises BadRequest ("batch_needs_pyarrow")."""
    if as_json:
        return JsonRows(asked)
    check_pyarrow()
    from emotape.delivery.offline.parquet import ParquetRows

    return ParquetRows(asked)


def check_pyarrow() -> None:
    """Raise BadRequest ("batch_needs_pyarrow") where Parquet can be neither read nor written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise BadRequest("batch_needs_pyarrow") from error

"""Parquet files that name recordings, or hold them: a column `path` (or `file`) of texts, a column `audio` of bytes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from emotape.delivery.offline.item import Column, Item
from emotape.delivery.offline.manifest import PATHS, item, path_column
from emotape.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

AUDIO: Final = "audio"
_ROWS: Final = 4096  # read at once where there are paths alone
_SOUNDS: Final = 32  # read at once where the recordings themselves are in the file


@dataclass(frozen=True)
class ParquetSource:
    """One Parquet file, or the folder of several with the same columns; paths count from the folder.

    `audio` holds bytes, or as the `datasets` library writes it a struct of `bytes` and `path`.
    """

    path: Path

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every other column, with its own type. Raises BadRequest ("batch_columns", "batch_unreadable")."""
        paths = self._paths
        fields = [field for field in self._schema if field.name not in (paths, AUDIO if self._has_audio else None)]
        return tuple(Column(field.name, str(field.type), field.type) for field in fields)

    def items(self) -> Iterator[Item]:
        """Yield the recording of each row, a few rows read at a time."""
        carried = [column.name for column in self.columns]
        wanted = [*carried, *filter(None, [self._paths, AUDIO if self._has_audio else None])]
        for path in self._files:
            with _reading(path):
                for row in _rows(path, wanted, _SOUNDS if self._has_audio else _ROWS):
                    yield self._item(row, {name: row[name] for name in carried})

    def marks(self) -> Iterator[object]:
        """Count by what the files say of themselves."""
        import pyarrow.parquet

        for path in self._files:
            with _reading(path):
                yield from range(pyarrow.parquet.read_metadata(path).num_rows)

    def _item(self, row: Mapping[str, Any], carried: Mapping[str, object]) -> Item:
        name = row[self._paths] if self._paths else None
        sound = row[AUDIO] if self._has_audio else None
        if isinstance(sound, dict):
            name, sound = name or sound.get("path"), sound.get("bytes")
        if sound is not None:
            return Item(name or "", sound, carried=carried)
        return item(name, self._folder, carried)

    @property
    def _folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        if not self.path.is_dir():
            return (self.path,)
        return tuple(sorted(path for path in self.path.glob("*.parquet") if not path.name.startswith(("_", "."))))

    @cached_property
    def _schema(self) -> Any:
        import pyarrow.parquet

        with _reading(self._files[0]):
            return pyarrow.parquet.read_schema(self._files[0])

    @cached_property
    def _has_audio(self) -> bool:
        import pyarrow as pa

        if AUDIO not in self._schema.names:
            return False
        kind = self._schema.field(AUDIO).type
        is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        return bool(is_bytes) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)

    @cached_property
    def _paths(self) -> str | None:
        """The column of paths; where the recordings themselves are in the file there need not be one."""
        if self._has_audio and not any(name.lower() in PATHS for name in self._schema.names):
            return None
        return path_column(self._schema.names, self.path)


def _rows(path: Path, columns: list[str], at_once: int) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(at_once, columns=columns):
            yield from batch.to_pylist()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a Parquet file into BadRequest ("batch_unreadable")."""
    import pyarrow as pa

    try:
        yield
    except (OSError, KeyError, pa.ArrowException) as error:
        raise BadRequest("batch_unreadable", path=str(path), reason=str(error)) from error

"""Rows as Parquet, compressed with zstd; in the journal as Arrow record batches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from emotape.delivery.offline.forms import ABOUT, Known
from emotape.delivery.offline.item import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from emotape.delivery.offline.forms import Form
    from emotape.delivery.offline.rows import Asked, Row

_COMPRESSION: Final = "zstd"
_KNOWN: Final = ("key", "error_code", "error_passing")
_SEGMENT: Final = {
    "start": pa.float64(),
    "stop": pa.float64(),
    "emotion": pa.string(),
    "confidence": pa.float32(),
    "scores": pa.list_(pa.float32()),
}
_TYPES: Final = {
    "key": pa.binary(KEY_BYTES),
    "string": pa.string(),
    "json": pa.string(),
    "strings": pa.list_(pa.string()),
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "vector": pa.list_(pa.float32()),
    "matrix": pa.list_(pa.list_(pa.float32())),
    "segments": pa.list_(pa.struct(_SEGMENT)),
}


@dataclass(frozen=True)
class ParquetRows:
    """Rows with the columns of `asked`."""

    asked: Asked
    suffix: str = ".parquet"

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        fields = [(name, _TYPES[kind]) for name, kind in self.asked.fields().items()]
        names = self.asked.carried_as()
        carried = [(names[column.name], column.type or _TYPES[column.kind]) for column in self.asked.carried]
        return pa.schema([*fields, *carried])

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return rows as one record batch."""
        columns = [_column([row.get(field.name) for row in rows], field.type) for field in self.schema]
        payload: bytes = pa.RecordBatch.from_arrays(columns, schema=self.schema).serialize().to_pybytes()
        return payload

    def known(self, payload: bytes) -> Iterator[Known]:
        """Yield what each row is about."""
        return _known(self._batch(payload).select(_KNOWN))

    def write(self, payloads: Sequence[bytes], file: BinaryIO, about: Mapping[str, Any]) -> None:
        """Write one Parquet file."""
        schema = self.schema.with_metadata({ABOUT: json.dumps(about).encode()})
        with pa.parquet.ParquetWriter(file, schema, compression=_COMPRESSION) as writer:
            table = pa.Table.from_batches(map(self._batch, payloads), self.schema)
            writer.write_table(table.replace_schema_metadata(schema.metadata))

    def read(self, path: Path) -> Iterator[Known]:
        """Yield what each row of a part is about."""
        with pa.parquet.ParquetFile(path) as part:
            for batch in part.iter_batches(columns=list(_KNOWN)):
                yield from _known(batch)

    def without_passing(self, path: Path, file: BinaryIO) -> None:
        """Copy a part but for passing failures, a row group at a time."""
        with pa.parquet.ParquetFile(path) as part:
            schema = part.schema_arrow
            with pa.parquet.ParquetWriter(file, schema, compression=_COMPRESSION) as writer:
                for group in range(part.num_row_groups):
                    table = part.read_row_group(group)
                    passing = table.column("error_passing").fill_null(False)  # noqa: FBT003 - a value
                    writer.write_table(table.filter(pa.compute.invert(passing)))

    def _batch(self, payload: bytes) -> pa.RecordBatch:
        return pa.ipc.read_record_batch(pa.py_buffer(payload), self.schema)


def join(parts: Sequence[Path], file: BinaryIO, form: Form, about: Mapping[str, Any]) -> None:
    """Write the rows of all parts into one file, a row group at a time."""
    assert isinstance(form, ParquetRows)  # noqa: S101 - one file is written in this form alone
    schema = form.schema.with_metadata({ABOUT: json.dumps(about).encode()})
    with pa.parquet.ParquetWriter(file, schema, compression=_COMPRESSION) as writer:
        for path in parts:
            with pa.parquet.ParquetFile(path) as part:
                for group in range(part.num_row_groups):
                    writer.write_table(part.read_row_group(group).replace_schema_metadata(schema.metadata))


def read_about(path: Path) -> dict[str, Any] | None:
    """Return what a Parquet file's rows were made from; None for a file of somebody else's."""
    found = (pa.parquet.read_metadata(path).metadata or {}).get(ABOUT)
    about: dict[str, Any] | None = None if found is None else json.loads(found)
    return about


def _known(batch: pa.RecordBatch) -> Iterator[Known]:
    columns = [batch.column(name) for name in _KNOWN]
    passing = columns[2].fill_null(False).to_pylist()  # noqa: FBT003 - a value
    return map(Known, columns[0].to_pylist(), columns[1].is_valid().to_pylist(), passing)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return one column. Matrices are joined as arrays: a list for each number would cost more than the network."""
    if kind == _TYPES["matrix"]:
        return _matrices(values)
    return pa.array(values, kind)


def _matrices(values: Sequence[NDArray[np.float32] | None]) -> pa.Array:
    """Return matrices [n, k], or None, as lists of lists."""
    present = [value for value in values if value is not None]
    numbers = np.concatenate([value.ravel() for value in present]) if present else np.zeros(0, np.float32)
    widths = [value.shape[1] for value in present for _ in range(value.shape[0])]
    rows = pa.ListArray.from_arrays(_offsets(widths), pa.array(numbers, pa.float32()))
    starts = _offsets([0 if value is None else value.shape[0] for value in values])
    absent = pa.array([value is None for value in values], pa.bool_())
    return pa.ListArray.from_arrays(starts, rows, mask=absent)


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int32), pa.int32())

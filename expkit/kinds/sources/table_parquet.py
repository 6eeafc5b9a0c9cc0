"""Parquet files as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet

from expkit.errors import DataError, comma_list, reading
from expkit.kinds.sources.table_files import TableFile

__all__ = ["ParquetFile"]

BATCH_ROWS = 1 << 16
"""Rows of a batch."""
FIX = "fetch it again, or write it anew, without encryption"


@final
class ParquetFile(TableFile):
    """A Parquet file."""

    def __init__(self, file: Path) -> None:
        """Read the names and types of the columns.

        Raises:
            DataError: the file is not a Parquet file.
        """
        super().__init__(file)
        with self._reading():
            self._schema = pa.parquet.read_schema(file)

    @property
    def names(self) -> Sequence[str]:
        """Names of all columns, in order."""
        return list(self._schema.names)

    @property
    def typed(self) -> bool:
        """Whether the file says the types of its columns."""
        return True

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Types by the name of a column that cannot be read."""
        columns = zip(self._schema.names, self._schema.types, strict=True)
        return {name: str(found) for name, found in columns if _target(found) is None}

    def batches(self, places: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yield columns, of the nearest type of those above."""
        refused = [
            f"'{self._schema.names[place]}' ({self._schema.types[place]})"
            for place in places
            if _target(self._schema.types[place]) is None
        ]
        if refused:
            raise DataError.at(
                "data.source.columns",
                f"{self.file} has columns that are neither numbers, text nor bytes: {comma_list(refused)}; name the "
                "columns to read in data.source.columns, without these",
            )
        with self._reading():
            opened, row = pa.parquet.ParquetFile(self.file, memory_map=True, page_checksum_verification=True), 0
            names = [self._schema.names[place] for place in places]
            batches = opened.iter_batches(batch_size=BATCH_ROWS, columns=names)
            while (batch := self._next(batches, row)) is not None:
                found = [batch.column(batch.schema.get_field_index(name)) for name in names]
                yield [column.cast(_target(column.type)) for column in found]
                row += len(batch)

    def _next(self, batches: Iterator[pa.RecordBatch], row: int) -> pa.RecordBatch | None:
        """Return the batch that begins after so many rows; ``None`` at the end."""
        with self._reading(f"cannot be read after row {row:,}" if row else "cannot be read"):
            return next(batches, None)

    def _reading(self, problem: str = "is not a readable Parquet file") -> Any:
        return reading("data.source.path", f"{self.file} {problem}", raises=DataError, fix=FIX)


def _target(found: pa.DataType) -> pa.DataType | None:
    """Return the type as which a column is read; ``None`` if it is not."""
    types = pa.types
    if types.is_dictionary(found):
        return _target(found.value_type)
    if types.is_boolean(found) or types.is_uint64(found) or types.is_float32(found):
        return found
    if types.is_integer(found):
        return pa.int64()
    if types.is_float16(found):
        return pa.float32()
    if types.is_floating(found) or types.is_decimal(found) or types.is_null(found):
        return pa.float64()
    if types.is_string(found) or types.is_large_string(found) or types.is_temporal(found):
        return None if types.is_duration(found) or types.is_interval(found) else pa.large_string()
    if types.is_binary(found) or types.is_large_binary(found) or types.is_fixed_size_binary(found):
        return pa.large_binary()
    return None

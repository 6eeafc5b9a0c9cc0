"""The files of tables: columns by position, in batches of rows, as arrays of Arrow."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from expkit.errors import DataError, comma_list, reading
from expkit.machine import size_text

__all__ = ["CsvFile", "ParquetFile", "TableFile"]

AT = "data.source.path"
BLOCK_BYTES, MOST_BLOCK_BYTES = 1 << 24, 1 << 28
BLOCK_ROWS = 512
"""Rows that are parsed at once: so many headers long, within the limits above. A row must be shorter."""
LINE_LENGTH = 1 << 26
"""Characters of the longest line: what is unpacked from a small file may be of any length."""
BATCH_ROWS = 1 << 16
"""Rows of a batch of a Parquet file."""
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class TableFile(ABC):
    """A file of rows and named columns."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names of all columns, in order."""

    @property
    @abstractmethod
    def typed(self) -> bool:
        """Whether the file says the types of its columns; otherwise all are strings."""

    @abstractmethod
    def batches(self, places: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yield the columns at these positions, batch by batch.

        Arrays are of large_string, large_binary, bool, int64, uint64, float32 or float64; of large_string alone where
        the file has no types.

        Raises:
            DataError: the file is damaged, not in its encoding, or a column is of another type.
        """


@final
class CsvFile(TableFile):
    """A CSV file with a header, plain or gzipped."""

    def __init__(self, file: Path, delimiter: str, encoding: str) -> None:
        """Read the header.

        Raises:
            DataError: the file cannot be read, or not in this encoding.
        """
        super().__init__(file)
        self._delimiter = delimiter
        self._encoding = encoding
        with self._reading(), self._rows(strict=False) as rows:
            self._names: list[str] = next((row for row in rows if row), [])
        length = 1 + sum(len(name.encode("utf-8", "surrogatepass")) + 1 for name in self._names)
        self._block = min(max(BLOCK_BYTES, BLOCK_ROWS * length), MOST_BLOCK_BYTES)

    @property
    def names(self) -> Sequence[str]:
        """Names of all columns, in order."""
        return self._names

    @property
    def typed(self) -> bool:
        """Whether the file says the types of its columns."""
        return False

    def batches(self, places: Sequence[int]) -> Iterator[list[pa.Array]]:
        """Yield columns of strings."""
        keys = [f"f{place}" for place in places]
        options = (
            pa.csv.ReadOptions(autogenerate_column_names=True, block_size=self._block, encoding=self._codec()),
            pa.csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            pa.csv.ConvertOptions(
                strings_can_be_null=False, include_columns=keys, column_types=dict.fromkeys(keys, pa.large_string())
            ),
        )
        header = True
        with self._reading(), self._opened() as opened:
            counted = _CountingQuotes(opened)
            try:
                for batch in pa.csv.open_csv(pa.PythonFile(counted, "r"), *options):
                    yield [column.slice(1) if header else column for column in batch.columns]
                    header = False
            except (pa.ArrowInvalid, UnicodeError) as error:
                if "Empty CSV file" in str(error):
                    return
                self._diagnose(only_quotes=False)
                if "straddling" in str(error):
                    size = size_text(self._block)
                    raise DataError.at(AT, f"{self.file} has a row of more than {size}, which is not read") from None
                raise
            if counted.quotes % 2:
                self._diagnose(only_quotes=True)

    def _codec(self) -> str:
        name = codecs.lookup(self._encoding).name
        return "utf8" if name == "utf-8" else name

    def _opened(self) -> Any:
        with self.file.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        return gzip.open(self.file) if zipped else self.file.open("rb")

    @contextmanager
    def _rows(self, *, strict: bool) -> Iterator[Any]:
        """Yield a reader of all rows, some ten times slower than Arrow's, which knows the line it is at."""
        with self._opened() as opened, io.TextIOWrapper(opened, self._encoding, newline="") as text:
            if text.read(1) != "\ufeff":
                text.seek(0)
            yield csv.reader(_lines(text), delimiter=self._delimiter, strict=strict)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with reading(AT, f"{self.file} is not a readable CSV file", raises=DataError):
            try:
                yield
            except UnicodeError as error:
                raise self._no_text(error) from None

    def _no_text(self, error: UnicodeError) -> DataError:
        with self.file.open("rb") as opened:
            start = opened.read(4)
        marked = next((name for mark, name in MARKS.items() if start.startswith(mark)), None)
        found = ""
        if isinstance(error, UnicodeDecodeError):
            found = f" (byte 0x{error.object[error.start]:02x}: {error.reason})"
        fix = (
            f"it begins as {marked} does: data.source.encoding={marked}"
            if marked
            else ("give its encoding, such as data.source.encoding=latin-1 or cp1252")
        )
        message = f"{self.file} is not text in {self._encoding}{found}; {fix}"
        return DataError.at(AT, message)

    def _diagnose(self, *, only_quotes: bool) -> None:
        """Raise DataError for the first row that has another number of columns, or a quote that is not closed."""
        limit = csv.field_size_limit(MOST_BLOCK_BYTES)
        line = 1
        try:
            with self._rows(strict=True) as rows:
                for row in rows:
                    if row and len(row) != len(self._names) and not only_quotes:
                        raise DataError.at(
                            AT, f"{self.file} line {rows.line_num}: {_count(row)}, the header has {len(self._names)}"
                        )
                    line = rows.line_num + 1
        except csv.Error as error:
            if "unexpected end" in str(error) or "limit" in str(error):
                raise DataError.at(AT, f'{self.file} line {line}: a quote (") is not closed') from None
        finally:
            csv.field_size_limit(limit)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(LINE_LENGTH):
        if len(line) == LINE_LENGTH:
            raise ValueError(f"a line has {LINE_LENGTH:,} characters or more")
        yield line


def _count(row: Sequence[str]) -> str:
    return f"{len(row)} column{'s' * (len(row) != 1)}"


class _CountingQuotes(io.RawIOBase):
    """A file that counts the quotes read from it; an odd number hints at one that is not closed."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self.quotes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(size)
        self.quotes += content.count(b'"')
        return content


@final
class ParquetFile(TableFile):
    """A Parquet file."""

    def __init__(self, file: Path) -> None:
        """Read the names and types of the columns.

        Raises:
            DataError: the file is no Parquet file.
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
            opened = pa.parquet.ParquetFile(self.file, memory_map=True)
            names = [self._schema.names[place] for place in places]
            for batch in opened.iter_batches(batch_size=BATCH_ROWS, columns=names):
                found = [batch.column(batch.schema.get_field_index(name)) for name in names]
                yield [column.cast(_target(column.type)) for column in found]

    def _reading(self) -> Any:
        return reading(AT, f"{self.file} is not a readable Parquet file", raises=DataError)


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

"""Files of tables as columns by position, in batches of rows, as arrays of Arrow; CSV files."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.csv

from expkit.errors import DataError, comma_list, reading
from expkit.kinds.sources.table_content import FIRST_BYTES, content_problem, encoding_problem
from expkit.machine import size_text

__all__ = ["CsvFile", "TableFile", "first_bytes", "separator_hint"]

AT = "data.source.path"
BLOCK_BYTES, MOST_BLOCK_BYTES = 1 << 24, 1 << 28
BLOCK_ROWS = 512
"""Length of the block that is parsed at once, in headers, within the limits above; a row must be shorter."""
LINE_LENGTH = 1 << 26
"""Characters of the longest line: what is unpacked from a small file may be of any length."""
MOST_COLUMNS = 1 << 20
"""Columns that a header may have, for the same reason."""
SHOWN = 8
"""Columns of a header that a message names."""


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

    @property
    @abstractmethod
    def unreadable(self) -> Mapping[str, str]:
        """Types by the name of a column that cannot be read."""

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
            DataError: the file cannot be read, is of another kind, or not in this encoding.
        """
        super().__init__(file)
        self._delimiter = delimiter
        self._encoding = encoding
        start = first_bytes(file)
        if problem := content_problem(start) or encoding_problem(start, encoding):
            raise DataError.at(AT, f"{file} {problem}")
        with self._reading(), self._rows(strict=False) as rows:
            self._names: list[str] = next((row for row in rows if row), [])
        if self._names and re.fullmatch("sep=.?", self._names[0]):
            raise DataError.at(AT, f"{file} begins with a line 'sep=', which Excel alone reads; remove it")
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

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Types by the name of a column that cannot be read."""
        return {}

    def first_rows(self, count: int) -> list[list[str]]:
        """Return the first rows, the header among them, without those that are empty."""
        with self._reading(), self._rows(strict=False) as rows:
            return list(itertools.islice((row for row in rows if row), count))

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
        with self._reading(), _unzipped(self.file) as opened:
            counted = _CountingBytes(opened)
            try:
                for batch in pa.csv.open_csv(pa.PythonFile(counted, "r"), *options):
                    yield [column.slice(1) if header else column for column in batch.columns]
                    header = False
            except (pa.ArrowInvalid, UnicodeError) as error:
                if "Empty CSV file" in str(error):
                    return
                self._diagnose(lengths=True)
                if "straddling" in str(error):
                    size = size_text(self._block)
                    raise DataError.at(
                        AT, f"{self.file} has a row of more than {size}, which is not read; shorten its cells"
                    ) from None
                raise
            if counted.quotes % 2 or (counted.zeros and not self._has_zeros):
                self._diagnose(lengths=False)

    @property
    def _has_zeros(self) -> bool:
        """Whether text in the encoding has bytes that are 0."""
        return b"\0" in "a".encode(self._encoding)

    def _codec(self) -> str:
        name = codecs.lookup(self._encoding).name
        return "utf8" if name == "utf-8" else name

    @contextmanager
    def _rows(self, *, strict: bool) -> Iterator[Any]:
        """Yield a reader of all rows, some ten times slower than Arrow's, which knows the line it is at."""
        with _unzipped(self.file) as opened, io.TextIOWrapper(opened, self._encoding, newline="") as text:
            if text.read(1) != "\ufeff":
                text.seek(0)
            limit = csv.field_size_limit(MOST_BLOCK_BYTES)
            try:
                yield csv.reader(_lines(text, self._delimiter), delimiter=self._delimiter, strict=strict)
            finally:
                csv.field_size_limit(limit)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with _unzipping(self.file):
            try:
                yield
            except UnicodeError as error:
                raise self._no_text(error) from None

    def _no_text(self, error: UnicodeError) -> DataError:
        found = ""
        if isinstance(error, UnicodeDecodeError):
            found = f" (byte 0x{error.object[error.start]:02x}: {error.reason})"
        return DataError.at(
            AT,
            f"{self.file} is not text in {self._encoding}{found}; give its encoding, such as "
            "data.source.encoding=latin-1 or cp1252",
        )

    def _diagnose(self, *, lengths: bool) -> None:
        """Raise DataError for the first row with a byte 0, or a quote that is not closed.

        Args:
            lengths: whether the first row with another number of columns than the header is searched for, too.
        """
        line = 1
        try:
            with self._rows(strict=True) as rows:
                for row in rows:
                    here = f"{self.file} line {line}"
                    if any("\0" in cell for cell in row):
                        raise DataError.at(AT, f"{here}: a byte 0, which no text has; fetch or write the file again")
                    if row and len(row) != len(self._names) and lengths:
                        raise DataError.at(AT, f"{here}{self._other_length(row, last=_at_end(rows))}")
                    line = rows.line_num + 1
        except csv.Error as error:
            if "unexpected end" in str(error) or "limit" in str(error):
                fix = 'close it, or write two ("") for one that belongs to the text'
                raise DataError.at(AT, f'{self.file} line {line}: a quote (") is not closed; {fix}') from None

    def _other_length(self, row: Sequence[str], *, last: bool) -> str:
        """Return the end of a message about a row that is longer or shorter than the header."""
        names = self._names
        found = f" ({_shown(self._delimiter.join(row))!r}): {_count(row)}, the header has {len(names)}"
        if len(row) == len(names) + 1 and not row[-1].strip():
            return found + "; its last cell is empty: remove the delimiter at the end of rows, or add one to the header"
        if len(names) == 1:
            return found + (
                separator_hint(names)
                or f"; the first line, '{_shown(names[0])}', is taken for the header: remove lines that are above it"
            )
        found += f" ({comma_list([_shown(name) for name in names], SHOWN)})"
        if len(row) > len(names):
            return found + f"; put a cell that holds a {self._delimiter!r} into quotes, or remove what is too much"
        if last:
            return found + "; it is the last row: fetch the file again if it is cut off, complete or remove the row"
        return found + "; complete or remove the row"


def first_bytes(file: Path) -> bytes:
    """Return the first bytes of a file, of those in it if it is gzipped.

    Raises:
        DataError: it cannot be read.
    """
    with _unzipping(file), _unzipped(file) as opened:
        start: bytes = opened.read(FIRST_BYTES)
    return start


def _unzipped(file: Path) -> Any:
    """Return a file opened for its bytes, for those in it if it is gzipped."""
    with file.open("rb") as plain:
        zipped = plain.read(2) == b"\x1f\x8b"
    return gzip.open(file) if zipped else file.open("rb")


@contextmanager
def _unzipping(file: Path) -> Iterator[None]:
    """Turn whatever is raised into a DataError."""
    with reading(AT, f"{file} is not a readable CSV file", raises=DataError):
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError.at(AT, f"{file} is compressed and damaged: {error}; fetch it again") from None


def separator_hint(header: Sequence[str]) -> str:
    """Return the end of a message about a header whose only column looks like several; otherwise an empty string."""
    found = next((mark for mark in ";\t|," if len(header) == 1 and mark in header[0]), None)
    return f"; give data.source.delimiter={found!r}" if found else ""


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _lines(text: io.TextIOWrapper, delimiter: str) -> Iterator[str]:
    while line := text.readline(LINE_LENGTH):
        if len(line) == LINE_LENGTH:
            raise ValueError(f"a line has {LINE_LENGTH:,} characters or more")
        if line.count(delimiter) >= MOST_COLUMNS:
            raise ValueError(f"a line has more than {MOST_COLUMNS:,} columns")
        yield line


def _at_end(rows: Iterator[Any]) -> bool:
    try:
        return next(rows, None) is None
    except csv.Error:
        return False


def _count(row: Sequence[str]) -> str:
    return f"{len(row)} column{'s' * (len(row) != 1)}"


class _CountingBytes(io.RawIOBase):
    """A file that counts bytes read from it: an odd number of quotes hints at one that is not closed, 0 at damage."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self.quotes = self.zeros = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(size)
        self.quotes += content.count(b'"')
        self.zeros += content.count(b"\0")
        return content

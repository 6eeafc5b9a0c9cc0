"""Tables as a source: CSV, TSV and Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from expkit.errors import DataError, Problem, comma_list, limit_problems, reading, unknown
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.kinds.sources.encoding import Encoding
from expkit.kinds.sources.numerals import Decimal, Numerals, Thousands
from expkit.registry import register

if TYPE_CHECKING:
    from expkit.kinds.sources.table_files import TableFile

__all__ = ["TABLE_SETTINGS", "Table"]

REST = "*"
TABS = (".tsv", ".tab")
TABLE_SETTINGS = {"missing", "delimiter", "encoding", "decimal", "thousands"}
"""Fields that say how a table is written: those of training hold for the tables of predictions."""


@register
class Table(Source):
    """Rows of a CSV, TSV or Parquet file, plain or gzipped, with named columns; large ones are read from disk.

    A column becomes a field [examples]: int64 if all its cells are whole numbers, else float64 if all are numbers, else
    text; a Parquet file says the types itself. A missing number is NaN, a missing text empty. One pass finds the types,
    another converts; above 128 MiB columns are kept in a temporary file.
    """

    kind: Literal["table"] = "table"
    path: str
    """The file; a Parquet file is recognized by its content, tabs separate the columns of ``.tsv``."""
    columns: dict[str, str | tuple[str, ...]] = {}
    """Fields to read, by name: a column, or a list of columns of numbers as one field [examples, columns] of float64,
    of columns of text as one of text; ``"*"`` are all columns that no other field has. Every column under its own name
    when not given."""
    types: dict[str, Literal["text", "int64", "float32", "float64"]] = {}
    """Types of columns that are not as their cells look, such as ``{zip: text}``."""
    missing: tuple[str, ...] = ("",)
    """Cells that hold no value, spaces around them aside, such as ``["", NA, "?"]``."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1, pattern=r"^[\t !#-~]$")
    """ASCII character between columns of a CSV file, no quote; a comma, or in ``.tsv`` files a tab, when not given."""
    encoding: Encoding = "utf-8"
    """Encoding of a CSV file, such as ``utf-8``, ``latin-1`` or ``utf-16``."""
    decimal: Decimal = "point"
    """Mark before the fraction of a number in a CSV file, 1.5 or 1,5."""
    thousands: Thousands | None = None
    """Mark between groups of three digits of a number in a CSV file, such as the comma in 1,234."""

    @model_validator(mode="after")
    def _one_rest(self) -> Table:
        rest = [name for name, column in self.columns.items() if column == REST]
        if len(rest) > 1:
            raise ValueError(f'only one field can have all other columns ("*"), got {comma_list(rest)}')
        if empty := [name for name, column in self.columns.items() if column == ()]:
            raise ValueError(f'fields without a column: {comma_list(empty)}; list their columns, or give "*"')
        return self

    @model_validator(mode="after")
    def _two_marks(self) -> Table:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal}; give two marks")
        return self

    def load(self) -> Fields:
        """Return the fields, in memory where they are small.

        Raises:
            DataError: the file is missing or damaged, a column is not there or there twice, or a cell is not a number
                where numbers are declared.
        """
        from expkit.kinds.sources.table_fields import read_fields
        from expkit.kinds.sources.table_types import Words

        table = self.opened()
        layout = self._layout(table.file, table.names)
        return read_fields(table, layout, self.types, Words(self.missing, Numerals(self.decimal, self.thousands)))

    def columns_of_fields(self) -> dict[str, tuple[str, ...]]:
        """Return the columns of each field."""
        table = self.opened()
        names, layout = table.names, self._layout(table.file, table.names)
        return {
            field: tuple(names[place] for place in (places if isinstance(places, list) else [places]))
            for field, places in layout.items()
        }

    def opened(self) -> TableFile:
        """Return the file, of which the header is read.

        Raises:
            DataError: it is missing or damaged.
        """
        from expkit.kinds.sources.table_files import CsvFile
        from expkit.kinds.sources.table_parquet import ParquetFile

        file = existing(self.path, "path")

        with reading("data.source.path", f"{file} cannot be read", raises=DataError), file.open("rb") as opened:
            parquet = opened.read(4) == b"PAR1"
        if parquet:
            return ParquetFile(file)
        tabs = file.name.lower().removesuffix(".gz").endswith(TABS)
        return CsvFile(file, self.delimiter or ("\t" if tabs else ","), self.encoding)

    def _layout(self, file: Path, header: Sequence[str]) -> dict[str, int | list[int]]:
        """Return by field the position of its column, or of its columns."""
        if not header:
            raise DataError.at("data.source.path", f"{file} has no header and no rows")
        fields: Mapping[str, str | Sequence[str]] = self.columns or {name: name for name in header}
        named = [name for columns in fields.values() if columns != REST for name in _listed(columns)]
        taken = {*named}
        rest = [name for name in header if name not in taken]
        if REST in fields.values() and not rest:
            raise DataError.at("data.source.columns", f'no column of {file} is left for "*"')
        named += rest if REST in fields.values() else []
        if not self.columns:
            named = list(dict.fromkeys(named))
        places = _places(file, header, named, self.types)
        return {
            field: [places[name] for name in (rest if columns == REST else columns)]
            if columns == REST or not isinstance(columns, str)
            else places[columns]
            for field, columns in fields.items()
        }


def _listed(columns: str | Sequence[str]) -> Sequence[str]:
    return (columns,) if isinstance(columns, str) else columns


def _places(file: Path, header: Sequence[str], names: Sequence[str], types: Mapping[str, Any]) -> dict[str, int]:
    """Return the positions of columns in the header; DataError where a name is not that of one column."""
    from expkit.kinds.sources.table_files import separator_hint

    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name, []).append(place)
    problems = []
    for name, requests in Counter(names).items():
        found = places.get(name, [])
        if not found:
            problems.append(
                unknown(f"no column '{name}' in {file}", name, places, label="columns") + separator_hint(header)
            )
        elif len(found) > 1:
            problems.append(_called_alike(file, name, found))
        elif requests > 1:
            problems.append(f"column '{name}' is named {requests} times; name each column once")
    problems += [
        unknown(f"types: no column '{name}' in {file}", name, places, label="columns")
        for name in types
        if name not in places and name not in names
    ]
    if problems:
        raise DataError(*limit_problems([Problem("data.source", problem) for problem in problems]))
    return {name: places[name][0] for name in names}


def _called_alike(file: Path, name: str, places: Sequence[int]) -> str:
    first = comma_list(str(place + 1) for place in places[:-1])
    both, one = ("both", "one of them") if len(places) == 2 else ("all", "all but one of them")
    return f"columns {first} and {places[-1] + 1} of {file} are {both} called '{name}'; rename {one} in its header"

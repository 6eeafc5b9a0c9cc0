"""The dialect of a table: its encoding, delimiter, marks of numbers, and words for missing values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from expkit.errors import ConfigError, Problem
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.numerals import OTHER_NUMERALS, Numerals
from expkit.kinds.sources.strings import is_text
from expkit.kinds.sources.table import TABLE_SETTINGS, Table
from expkit.kinds.sources.table_content import likely_encoding
from expkit.kinds.sources.table_files import CsvFile, first_bytes

__all__ = ["Written", "read_table"]

NO_VALUE = {b"NA", b"N/A", b"n/a", b"na", b"#N/A", b"NULL", b"null", b"None", b"none", b"?", b"-", b"--", b"."}
"""Words that stand for no value where all other cells of a column are numbers."""
SAMPLED_ROWS = 50
"""Rows by which a delimiter is recognized."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A table and how it is written."""

    fields: Fields
    settings: Mapping[str, Any]
    """Fields of the source that are not as by default, without the path."""
    left_out: tuple[str, ...]
    """Sentences about columns that cannot be read."""


def read_table(path: Path, encoding: str | None, delimiter: str | None) -> Written:
    """Read a table with the settings that are given, or that its content shows.

    Raises:
        ConfigError: there is no such encoding or delimiter.
        DataError: the table cannot be read.
    """
    given = {key: value for key, value in (("encoding", encoding), ("delimiter", delimiter)) if value is not None}
    try:
        source = _with_delimiter(Table.model_validate({"path": str(path), **_encoding(path), **given}))
    except ValidationError as error:
        problems = [(f"--{item['loc'][0]}", item["msg"].removeprefix("Value error, ")) for item in error.errors()]
        raise ConfigError(*(Problem(option, message) for option, message in problems)) from None
    file = source.opened()
    readable = {name: name for name in file.names if name not in file.unreadable}
    source = source.model_copy(update={"columns": readable if file.unreadable else {}})
    fields = source.load()
    more = source.model_copy(update=_words(fields, source.delimiter is None and not file.typed))
    if more != source:
        again = more.load()
        if not any(is_text(again[name].dtype) and not is_text(array.dtype) for name, array in fields.items()):
            source, fields = more, again
    return Written(
        fields=fields,
        settings=source.model_dump(include=TABLE_SETTINGS, exclude_defaults=True),
        left_out=tuple(f"'{name}' is left out: it is of type {kind}" for name, kind in file.unreadable.items()),
    )


def _encoding(path: Path) -> dict[str, str]:
    """Return the encoding that the first bytes show, if they do."""
    likely = likely_encoding(first_bytes(path))
    return {"encoding": likely} if likely not in (None, "utf-8") else {}


def _with_delimiter(source: Table) -> Table:
    """Return a table with the first delimiter by which some rows have equal numbers of columns, more than one."""
    if source.delimiter is not None or not isinstance(source.opened(), CsvFile):
        return source
    for mark in (None, ";", "\t", "|"):
        separated = source.model_copy(update={"delimiter": mark})
        file = separated.opened()
        lengths = {len(row) for row in file.first_rows(SAMPLED_ROWS)} if isinstance(file, CsvFile) else set()
        if len(lengths) == 1 and lengths != {1}:
            return separated
    return source


def _words(fields: Fields, comma_separates: bool) -> dict[str, Any]:
    """Return the marks of numbers and the words for no value by which columns of text are columns of numbers."""
    absent: set[bytes] = set()
    unusual: list[list[str]] = []
    for array in fields.values():
        if not is_text(array.dtype):
            continue
        values = {value.strip() for value in array[:].reshape(-1).tolist()} - {b""}
        words = [value.decode("utf-8", "replace") for value in values - NO_VALUE]
        usual = Numerals().all_numbers(words)
        if words and (usual or any(item.all_numbers(words) for item in OTHER_NUMERALS)):
            absent |= values & NO_VALUE
            unusual += [] if usual else [words]
    found: dict[str, Any] = {"missing": ("", *sorted(word.decode() for word in absent))} if absent else {}
    if unusual:
        known = (Numerals("point", "comma"), *OTHER_NUMERALS) if comma_separates else OTHER_NUMERALS
        chosen = max(known, key=lambda item: sum(item.all_numbers(words) for words in unusual))  # the first of several
        found |= {"decimal": chosen.decimal, "thousands": chosen.thousands}
    return found

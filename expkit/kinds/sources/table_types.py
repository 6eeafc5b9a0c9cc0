"""The types of the columns of a table: found in all of their cells, or declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expkit.errors import DataError
from expkit.kinds.sources.numerals import Numerals, marks_of
from expkit.kinds.sources.spool import Strings

__all__ = ["Column", "ColumnType", "Words"]

ColumnType = Literal["text", "int64", "float32", "float64", "bool"]
EXACT = 2**53
"""Whole numbers up to this are exact as float64."""
INT64 = 2**63
PROBED = 64
"""Cells that are cast before all are."""


@dataclass(frozen=True)
class Words:
    """Cells of text as values."""

    missing: tuple[str, ...]
    """Cells that hold no value."""
    numerals: Numerals
    """Marks of numbers."""


@final
class Column:
    """A column whose cells arrive in batches, twice: ``observe`` finds its type, ``chunk`` converts them.

    Without a type that is declared, a column of text cells is of whole numbers if all cells are, else of numbers, else
    of text. Whole numbers that int64, or with missing values float64, does not hold exactly stay text.
    """

    def __init__(self, name: str, file: Path, words: Words, *, typed: bool) -> None:
        """Create a column that has seen no cell.

        Args:
            name: its name, for messages.
            file: the file, for messages.
            words: cells that hold no value, and the marks of numbers.
            typed: whether the file says the types of its columns, so that text is never read as numbers.
        """
        self.name = name
        self._file = file
        self._missing = pa.array(words.missing, pa.large_string())
        self._numerals = words.numerals
        self._typed = typed
        self._row = 0
        self._bad: tuple[int, str] | None = None
        self._found: set[str] = set()

    def observe(self, cells: pa.Array) -> None:
        """Learn from a batch of cells."""
        found = self._found
        if pa.types.is_large_string(cells.type) and not self._typed:
            if "text" not in found:
                self._observe_words(cells)
        elif pa.types.is_large_string(cells.type) or pa.types.is_large_binary(cells.type):
            found.add("text")
        elif pa.types.is_integer(cells.type):
            self._observe_whole(cells)
        else:  # bool, float32 or float64
            found.add("float64" if pa.types.is_boolean(cells.type) and cells.null_count else _name(cells.type))
        self._row += len(cells)

    def type(self) -> ColumnType:
        """Return the type that all observed cells have."""
        found = self._found
        if "text" in found or ("big" in found and not found & {"float32", "float64"}):
            return "text"
        if "float64" in found or "float32" in found:
            return "float64" if "float64" in found else "float32"
        if "bool" in found:
            return "bool"
        if "missing" in found:
            return "text" if "wide" in found else "float64"
        return "int64"

    def restart(self) -> None:
        """Begin with the first batch again, to convert its cells."""
        self._row = 0

    def chunk(self, cells: pa.Array, target: ColumnType) -> np.ndarray | Strings:
        """Return a batch of cells as a type: missing numbers as NaN, missing text as the empty string.

        Raises:
            DataError: a cell does not have the type.
        """
        values = self._text(cells) if target == "text" else self._numbers(cells, target)
        self._row += len(cells)
        return values

    def not_numeric(self) -> DataError:
        """Return the error for a column of text that is to hold numbers."""
        if self._bad is None:
            return self._error("holds text", "choose another column, or write numbers to the file")
        return self._not_a_number(*self._bad)

    def _observe_words(self, cells: pa.Array) -> None:
        written, whole = cells, self._plain(_whole, cells)
        if whole is None:
            cells = self._cleaned(cells)
            whole = _whole(cells)
        if whole is not None:
            self._observe_whole(whole)
        elif _floats(cells) is None:
            place = _first_bad(cells)
            self._bad = self._row + place, written[place].as_py()
            self._found.add("text")
        else:
            all_whole = pc.all(pc.match_substring_regex(cells, r"^-?[0-9]+$"), min_count=0).as_py()
            self._found |= {"big" if all_whole else "float64", *(["missing"] if cells.null_count else [])}

    def _observe_whole(self, cells: pa.Array) -> None:
        if cells.null_count:
            self._found.add("missing")
        if cells.null_count < len(cells):
            extremes = [abs(value.as_py()) for value in pc.min_max(cells).values()]
            self._found |= {word for word, bound in {"wide": EXACT, "big": INT64}.items() if max(extremes) > bound}

    def _cleaned(self, cells: pa.Array) -> pa.Array:
        """Return words without spaces around them and a plus before them, and null in place of missing values."""
        trimmed = pc.ascii_trim_whitespace(cells)
        trimmed = pc.if_else(pc.is_in(trimmed, self._missing), pa.scalar(None, pa.large_string()), trimmed)
        if (_content(trimmed).data == ord("+")).any():
            trimmed = pc.replace_substring_regex(trimmed, r"^\+([0-9.,])", r"\1")
        return trimmed if self._numerals.usual else self._numerals.translated(trimmed)

    def _plain(self, convert: Callable[[pa.Array], pa.Array | None], cells: pa.Array) -> pa.Array | None:
        """Return words converted as they are, which is faster; ``None`` where their numbers have other marks."""
        return convert(cells) if self._numerals.usual else None

    def _text(self, cells: pa.Array) -> Strings:
        if pa.types.is_large_binary(cells.type):
            return _content(pc.fill_null(cells, b""))
        words = cells if pa.types.is_large_string(cells.type) else pc.cast(cells, pa.large_string())
        empty = pc.fill_null(pc.is_in(pc.ascii_trim_whitespace(words), self._missing), True)
        return _content(pc.if_else(empty, pa.scalar("", pa.large_string()), words))

    def _numbers(self, cells: pa.Array, target: ColumnType) -> np.ndarray:
        if not pa.types.is_large_string(cells.type):
            return self._native(cells, target)
        written = cells
        if target == "int64":
            whole = self._plain(_whole, cells)
            cells = cells if whole is not None else self._cleaned(cells)
            if whole is None and not cells.null_count:
                whole = _whole(cells)
            return np.asarray(whole) if whole is not None else self._exact(cells, written)
        numbers = self._plain(_floats, cells)
        if numbers is None:
            cells = self._cleaned(cells)
            numbers = _floats(cells)
        if numbers is None:
            place = _first_bad(cells)
            raise self._not_a_number(self._row + place, written[place].as_py())
        return _with_nan(numbers).astype(target, copy=False)

    def _native(self, cells: pa.Array, target: ColumnType) -> np.ndarray:
        if pa.types.is_large_binary(cells.type):
            raise self._error("holds bytes", f"they cannot be read as {target}")
        if target in ("int64", "bool"):
            if cells.null_count:
                raise self._no_value(int(np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False))[0]), target)
            try:
                return np.asarray(cells.cast(pa.int64() if target == "int64" else pa.bool_()))
            except pa.ArrowInvalid as error:
                raise self._error(f"cannot be read as {target}", str(error)) from None
        return _with_nan(cells.cast(pa.float64(), safe=False)).astype(target, copy=False)

    def _exact(self, cells: pa.Array, written: pa.Array) -> np.ndarray:
        """Return whole numbers such as 3.0 or 1e3 exactly; ``written`` is as messages show them."""
        values = np.empty(len(cells), np.int64)
        for place, word in enumerate(cells.to_pylist()):
            if word is None:
                raise self._no_value(place, "int64")
            try:
                number = Decimal(word)
                whole = number == number.to_integral_value()
            except InvalidOperation:
                raise self._not_a_number(self._row + place, written[place].as_py()) from None
            if not whole:
                raise self._error(f"row {self._row + place + 1} holds {word}", "int64 holds whole numbers only")
            if not -INT64 <= number < INT64:
                raise self._error(f"row {self._row + place + 1} holds {word}", "it is beyond the range of int64")
            values[place] = int(number)
        return values

    def _no_value(self, place: int, target: str) -> DataError:
        return self._error(
            f"row {self._row + place + 1} has no value", f"{target} cannot say so; declare the type float64"
        )

    def _not_a_number(self, row: int, word: str) -> DataError:
        word = word.strip()
        shown = word if len(word) <= 40 else f"{word[:40]}..."
        marks = marks_of(word)
        fix = "leave the column out, or list words that stand for missing values in data.source.missing"
        return self._error(
            f"row {row + 1}: {shown!r} is not a number", fix + (f"; if it is to be one, give {marks}" if marks else "")
        )

    def _error(self, problem: str, rest: str) -> DataError:
        message = f"{self._file}, column '{self.name}', {problem}; {rest}"
        return DataError.at("data.source.path", message)


def _name(found: pa.DataType) -> str:
    return {pa.bool_(): "bool", pa.float32(): "float32"}.get(found, "float64")


def _with_nan(numbers: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False))


def _whole(cells: pa.Array) -> pa.Array | None:
    """Return int64 values, null for null; ``None`` unless all cells are whole numbers within its range."""
    try:
        _probed(cells).cast(pa.int64())
        numbers = cells.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    hexadecimal = ((_content(cells).data | 0x20) == ord("x")).any()
    return None if hexadecimal else numbers


def _floats(cells: pa.Array) -> pa.Array | None:
    """Return float64 values, null for null; ``None`` unless all cells are numbers."""
    try:
        _probed(cells).cast(pa.float64())
        return cells.cast(pa.float64())
    except pa.ArrowInvalid:
        return None


def _probed(cells: pa.Array) -> pa.Array:
    """Return a few cells, evenly spaced: a cast of all goes on after the first that fails, slowly where many do."""
    return cells.take(pa.array(np.linspace(0, len(cells) - 1, min(PROBED, len(cells))).astype(np.int64)))


def _first_bad(cells: pa.Array) -> int:
    """Return the position of the first cell that is not a number, by halving."""
    place = 0
    while len(cells) > 1:
        half = len(cells) // 2
        if _floats(cells[:half]) is None:
            cells = cells[:half]
        else:
            place, cells = place + half, cells[half:]
    return place


def _content(cells: pa.Array) -> Strings:
    """Return the bytes of large strings, without copying them."""
    _, offsets, data = cells.buffers()
    found = np.frombuffer(offsets, np.int64)[cells.offset : cells.offset + len(cells) + 1]
    first, last = int(found[0]), int(found[-1])
    content = np.frombuffer(data, np.uint8)[first:last] if last > first else np.empty(0, np.uint8)
    return Strings(found - first, content)

"""Numbers that are written with other marks than a decimal point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OTHER_NUMERALS", "Decimal", "Numerals", "Thousands", "marks_of"]

Decimal = Literal["point", "comma"]
Thousands = Literal["comma", "point", "space", "apostrophe", "underscore"]

MARKS = {"point": r"\.", "comma": ",", "space": "[ \u00a0\u202f]", "apostrophe": "['\u2019]", "underscore": "_"}
"""Regular expressions of the marks; some spaces break no line."""


@dataclass(frozen=True)
class Numerals:
    """The marks in the numbers of a table."""

    decimal: Decimal = "point"
    """Mark before the fraction."""
    thousands: Thousands | None = None
    """Mark between groups of three digits."""

    @property
    def usual(self) -> bool:
        """True if numbers are written as programs write them."""
        return self == Numerals()

    @property
    def pattern(self) -> str:
        """Regular expression of a number that has these marks."""
        fraction = MARKS[self.decimal]
        if self.thousands is None:
            return f"[+-]?[0-9]*{fraction}[0-9]+"
        return f"[+-]?[0-9]{{1,3}}(?:{MARKS[self.thousands]}[0-9]{{3}})+(?:{fraction}[0-9]*)?"

    def all_numbers(self, words: Sequence[str]) -> bool:
        """Return True if all words are numbers."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            pc.cast(self.translated(pa.array(words, pa.large_string())), pa.float64())
        except pa.ArrowInvalid:
            return False
        return True

    def translated(self, words: pa.Array) -> pa.Array:
        """Return words with numbers as programs write them; a number with other marks becomes none."""
        import pyarrow.compute as pc

        if self.thousands is not None:
            joined = pc.replace_substring_regex(words, MARKS[self.thousands], "")
            words = pc.if_else(pc.match_substring_regex(words, f"^(?:{self.pattern})$"), joined, words)
        if self.decimal == "comma":
            for old, new in ((".", "\0"), (",", "."), ("\0", ",")):
                words = pc.replace_substring(words, old, new)
        return words


OTHER_NUMERALS = (
    Numerals("comma"),
    Numerals("comma", "point"),
    Numerals("point", "comma"),
    Numerals("point", "space"),
    Numerals("comma", "space"),
    Numerals("point", "apostrophe"),
    Numerals("point", "underscore"),
)


def marks_of(word: str) -> str:
    """Return the settings of a table by which a word is a number, for messages; an empty string if there are none."""
    settings = []
    for item in OTHER_NUMERALS:
        if re.fullmatch(item.pattern, word) and (
            item.thousands != "space" or (item.decimal == "comma") == ("," in word)
        ):
            marks = {"decimal": item.decimal if item.decimal != "point" else None, "thousands": item.thousands}
            settings.append(" ".join(f"data.source.{key}={mark}" for key, mark in marks.items() if mark))
    return " or ".join(settings)

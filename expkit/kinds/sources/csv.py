"""The CSV reader: a table with a header as one field of features, one of labels."""

from __future__ import annotations

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field

from expkit.errors import DataError, Problem, comma_list, limit_problems, reading, unknown
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.registry import register

__all__ = ["Csv"]

_BOTH, _ALL = ("both", "one of them"), ("all", "all but one of them")


@register
class Csv(Source):
    """Rows of a CSV file with a header: feature columns as one float64 field, one column as the label."""

    kind: Literal["csv"] = "csv"
    path: str
    """The file."""
    label: str
    """Column that becomes the field ``label`` (int64 where every value is a whole number, float64 otherwise)."""
    features: tuple[str, ...] = ()
    """Columns that become the field ``features`` [examples, columns]; all others when not given."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Character between columns."""

    def load(self) -> Fields:
        """Return ``features`` and ``label``."""
        import numpy as np

        file = existing(self.path, "path")
        with reading("data.source.path", f"{file} is not a readable CSV file", raises=DataError):
            with file.open(newline="", encoding="utf-8-sig") as text:
                reader = csv.reader(text, delimiter=self.delimiter)
                header: list[str] = next((row for row in reader if row), [])
                rows = [(reader.line_num, row) for row in reader if row]
        if not rows:
            raise DataError.at("data.source.path", f"{file} has no rows after its header")
        names = (*(self.features or (name for name in header if name != self.label)), self.label)
        columns = _columns(file, header, names)
        if len(names) == 1:
            raise DataError.at("data.source.path", f"{file} has no column but the label '{self.label}'; add features")
        table = np.empty((len(rows), len(columns)), np.float64)
        for values, (line, row) in zip(table, rows, strict=True):
            if len(row) != len(header):
                raise DataError.at(
                    "data.source.path", f"{file} line {line}: {len(row)} columns, the header has {len(header)}"
                )
            try:
                values[:] = [float(row[column]) for column in columns]
            except ValueError:
                name, word = next((header[column], row[column]) for column in columns if not _is_number(row[column]))
                raise DataError.at(
                    "data.source.path", f"{file} line {line}, column '{name}': '{word}' is not a number"
                ) from None
        label = table[:, -1]
        if np.all(np.isfinite(label)) and np.all(label == np.round(label)):
            label = np.array([_whole(file, line, row[columns[-1]]) for line, row in rows], np.int64)
        return {"features": np.ascontiguousarray(table[:, :-1]), "label": label}


def _columns(file: Path, header: list[str], names: tuple[str, ...]) -> list[int]:
    """Return the positions of columns in the header; DataError where a name is not that of one column."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        places.setdefault(name, []).append(place)
    problems = []
    for name, requests in Counter(names).items():
        found = places.get(name, [])
        if not found:
            problems.append(unknown(f"no column '{name}' in {file}", name, header, label="columns"))
        elif len(found) > 1:
            first, (both, one) = comma_list(str(place + 1) for place in found[:-1]), _BOTH if len(found) == 2 else _ALL
            problems.append(
                f"columns {first} and {found[-1] + 1} of {file} are {both} called '{name}'; rename {one} in its header"
            )
        elif requests > 1:
            problems.append(
                f"column '{name}' is named {requests} times; name each column once, the label not as a feature"
            )
    if problems:
        raise DataError(*limit_problems([Problem("data.source", problem) for problem in problems]))
    return [places[name][0] for name in names]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(file: Path, line: int, text: str) -> int:
    """Return the whole number that a text stands for, exactly; as float64 those above 2^53 are rounded."""
    try:
        value = int(text)
    except ValueError:  # such as 3.0 or 1e3
        value = int(Decimal(text.strip()))
    if not -(2**63) <= value < 2**63:
        raise DataError.at("data.source.path", f"{file} line {line}: the label {text} is beyond the range of int64")
    return value

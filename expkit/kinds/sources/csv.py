"""The CSV reader: a table with a header as one field of features, one of labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from expkit.errors import DataError, unknown
from expkit.kinds.sources.base import Fields, Source, existing
from expkit.registry import register

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Csv"]


@register
class Csv(Source):
    """Rows of a CSV file with a header: feature columns as one float32 field, one column as the label."""

    kind: Literal["csv"] = "csv"
    path: str
    """The file."""
    label: str
    """Column that becomes the field ``label`` (int64 where every value is a whole number, float32 otherwise)."""
    features: tuple[str, ...] = ()
    """Columns that become the field ``features`` [examples, columns]; all others when not given."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Character between columns."""

    def load(self) -> Fields:
        """Return ``features`` and ``label``."""
        import numpy as np

        file = existing(self.path, "path")
        try:
            with file.open(newline="", encoding="utf-8-sig") as text:
                reader = csv.reader(text, delimiter=self.delimiter)
                header: list[str] = next((row for row in reader if row), [])
                rows = [(reader.line_num, row) for row in reader if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError.at("data.source.path", f"{file} is not a readable CSV file: {error}") from None
        if not rows:
            raise DataError.at("data.source.path", f"{file} has no rows after its header")
        features = self.features or tuple(name for name in header if name != self.label)
        for column in (self.label, *features):
            if column not in header:
                message = unknown(f"no column '{column}' in {file}", column, header, label="columns")
                raise DataError.at("data.source", message)
        if not features:
            raise DataError.at("data.source.path", f"{file} has no column but the label '{self.label}'; add features")
        for line, row in rows:
            if len(row) != len(header):
                raise DataError.at(
                    "data.source.path", f"{file} line {line}: {len(row)} columns, the header has {len(header)}"
                )
        table = {name: _numbers(file, rows, header, name) for name in (*features, self.label)}
        label = table[self.label]
        integers = bool(np.all(np.isfinite(label)) and np.all(label == np.round(label)))
        return {
            "features": np.stack([table[name] for name in features], axis=1).astype(np.float32),
            "label": label.astype(np.int64 if integers else np.float32),
        }


def _numbers(file: Path, rows: list[tuple[int, list[str]]], header: list[str], name: str) -> np.ndarray:
    import numpy as np

    column = header.index(name)
    values = np.empty(len(rows), np.float64)
    for i, (line, row) in enumerate(rows):
        try:
            values[i] = float(row[column])
        except ValueError:
            raise DataError.at(
                "data.source.path", f"{file} line {line}, column '{name}': '{row[column]}' is not a number"
            ) from None
    return values

"""The network of a draft for columns of numbers, categories and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expkit.errors import escaped
from expkit.kinds.preprocess.categories import RESERVED
from expkit.starter.heads import Head, head_layers, output_lines

__all__ = ["Column", "Columns", "dense_network"]

EMBEDDING = 16


@dataclass(frozen=True)
class Column:
    """A column of categories or texts."""

    name: str
    field: str
    """Name of the field and of the network's input."""
    size: int
    """Categories or words; length of a text in words."""
    length: int = 0

    @property
    def note(self) -> str:
        """The comment that names the column, where the field is called otherwise."""
        return "" if self.name == self.field else f"   # {escaped(self.name)}"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that are features."""

    numbers: Sequence[str]
    missing: bool
    """Whether a number is missing."""
    categories: Sequence[Column]
    texts: Sequence[Column]
    left_out: Sequence[str]
    """Sentences about columns that are not features."""


def dense_network(columns: Columns, heads: Sequence[Head]) -> list[str]:
    """Return the YAML of dense layers over the joined columns, with their heads."""
    inputs, layers, joined = [], [], []
    if columns.numbers:
        inputs.append(f"  numbers: {{shape: [{len(columns.numbers)}]}}")
        joined.append("numbers")
    for column in columns.categories:
        inputs.append(f"  {column.field}: {{shape: [{column.size + RESERVED}]}}{column.note}")
        joined.append(column.field)
    for column in columns.texts:
        words = f"input_dim: {column.size + RESERVED}, output_dim: {EMBEDDING}"
        inputs.append(f"  {column.field}: {{shape: [{column.length}], dtype: int32}}{column.note}")
        layers += [
            f"  {column.field}_words: {{kind: embedding, input: {column.field}, {words}}}",
            f"  {column.field}_mean: {{kind: reduce, axis: 1, function: mean}}",
        ]
        joined.append(f"{column.field}_mean")
    if len(joined) > 1:
        layers.append(f"  features: {{kind: concat, input: [{', '.join(joined)}]}}")
    first = "features" if len(joined) > 1 else joined[0]
    return [
        "# A small network of dense layers.",
        "inputs:",
        *inputs,
        "layers:",
        *layers,
        f"  hidden: {{kind: dense, input: {first}, units: 64, activation: relu}}",
        "  dropout: {kind: dropout, rate: 0.2}",
        *head_layers(heads),
        *output_lines(heads),
    ]

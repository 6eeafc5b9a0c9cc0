"""The fields of a table, read in two passes: one finds the types of columns, one converts their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
import pyarrow as pa

from expkit.errors import DataError
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.spool import Spool, Strings
from expkit.kinds.sources.table_files import TableFile
from expkit.kinds.sources.table_types import Column, ColumnType, Words

__all__ = ["read_fields"]

HELD_BYTES = 1 << 26
"""Size of the cells up to which the second pass does not read the file again."""


def read_fields(
    table: TableFile,
    layout: Mapping[str, int | Sequence[int]],
    declared: Mapping[str, ColumnType],
    words: Words,
) -> Fields:
    """Return the fields of a table.

    Args:
        table: the file.
        layout: by field the position of its column, or of the columns of numbers, or of text, that it joins.
        declared: types of columns by name.
        words: cells that hold no value, and the marks of numbers.

    Raises:
        DataError: the file is damaged, or a cell has not the type of its column.
    """
    places = list(dict.fromkeys(place for found in layout.values() for place in _listed(found)))
    columns = {place: Column(table.names[place], table.file, words, typed=table.typed) for place in places}
    batches = _Batches(table, places)
    rows = 0
    for batch in batches:
        for column, cells in zip(columns.values(), batch, strict=True):
            if column.name not in declared:
                column.observe(cells)
        rows += len(batch[0])
    if not rows:
        raise DataError.at("data.source.path", f"{table.file} has no rows after its header")
    types = {place: declared.get(column.name) or column.type() for place, column in columns.items()}
    for found in (found for found in layout.values() if not isinstance(found, int)):
        text = [place for place in found if types[place] == "text"]
        if 0 < len(text) < len(found):
            raise columns[text[0]].not_numeric()
    spool = Spool("data.source.path", str(table.file))
    for column in columns.values():
        column.restart()
    for batch in batches:
        chunks = {
            place: column.chunk(cells, types[place])
            for (place, column), cells in zip(columns.items(), batch, strict=True)
        }
        spool.append({name: _joined(chunks, found, types) for name, found in layout.items()})
    return spool.arrays()


def _listed(found: int | Sequence[int]) -> Sequence[int]:
    return (found,) if isinstance(found, int) else found


def _joined(
    chunks: Mapping[int, np.ndarray | Strings], found: int | Sequence[int], types: Mapping[int, ColumnType]
) -> np.ndarray | Strings:
    if isinstance(found, int):
        return chunks[found]
    first = chunks[found[0]]
    if isinstance(first, Strings):
        return Strings.joined([chunk for place in found if isinstance(chunk := chunks[place], Strings)])
    narrow = all(types[place] == "float32" for place in found)
    joined = np.empty((len(first), len(found)), np.float32 if narrow else np.float64)
    for column, place in enumerate(found):
        joined[:, column] = chunks[place]
    return joined


@final
class _Batches:
    """The batches of a table, which are read once if they are small."""

    def __init__(self, table: TableFile, places: Sequence[int]) -> None:
        self._table = table
        self._places = places
        self._held: list[list[pa.Array]] | None = None

    def __iter__(self) -> Iterator[list[pa.Array]]:
        if self._held is not None:
            yield from self._held
            return
        held: list[list[pa.Array]] = []
        size = 0
        for batch in self._table.batches(self._places):
            size += sum(cells.nbytes for cells in batch)
            if size <= HELD_BYTES:
                held.append(batch)
            else:
                held.clear()
            yield batch
        self._held = held if size <= HELD_BYTES else None

"""The places of cells along their ranks, so that lines are straight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from expkit.diagram.cells import Cell, Step

__all__ = ["place"]

GAP = 30.0
"""Between neighbours in a rank."""
LINE_GAP = 14.0
"""Between neighbours of which one is only a line."""
SWEEPS = 24
BENT = 0.2
"""How much the ends of a line that passes ranks pull, next to a line between children."""


class _Column:
    """Cells of consecutive ranks whose lines are drawn straight, so that they move as one."""

    def __init__(self, cell: Cell) -> None:
        self.x = 0.0
        self.offsets = {cell: 0.0}
        """Where each cell's middle is from the column's place."""
        self.left: list[tuple[_Column, float]] = []
        """Columns that stand to the left in some rank, and how far away they have to be."""
        self.right: list[tuple[_Column, float]] = []
        self.pulls: list[tuple[float, _Column, float]] = []
        """Strength, the column at the other end, and how far from it this one would like to be."""


def place(ranks: Sequence[Sequence[Cell]], steps: Sequence[Step]) -> None:
    """Give every cell its middle ``x``: lines straight where they can be, the others as straight as there is room."""
    columns = _columns(ranks, steps)
    for rank in ranks:
        for one, other in pairwise(rank):
            left, right = columns[one], columns[other]
            apart = (one.width + other.width) / 2 + (GAP if one.child and other.child else LINE_GAP)
            apart += left.offsets[one] - right.offsets[other]
            left.right.append((right, apart))
            right.left.append((left, apart))
    for step in steps:
        above, below = columns[step.start], columns[step.end]
        if above is not below:
            strength = 1.0 if step.start.child and step.end.child else BENT
            away = above.offsets[step.start] + step.leaves - step.arrives - below.offsets[step.end]
            below.pulls.append((strength, above, away))
            above.pulls.append((strength, below, -away))
    ordered = list(_from_left(columns))
    for column in ordered:
        column.x = max((other.x + apart for other, apart in column.left), default=0.0)
    for sweep in range(SWEEPS):
        for column in reversed(ordered) if sweep % 2 == 0 else ordered:
            _move(column)
    for cell, column in columns.items():
        cell.x = column.x + column.offsets[cell]


def _move(column: _Column) -> None:
    """Move a column to where its lines pull it, as far as its neighbours leave room."""
    weight = sum(strength for strength, _, _ in column.pulls)
    if weight:
        wanted = sum(strength * (other.x + away) for strength, other, away in column.pulls) / weight
        least = max((other.x + apart for other, apart in column.left), default=-math.inf)
        most = min((other.x - apart for other, apart in column.right), default=math.inf)
        column.x = max(least, min(wanted, most))


def _columns(ranks: Sequence[Sequence[Cell]], steps: Sequence[Step]) -> dict[Cell, _Column]:
    """Join cells of following ranks by lines that pass by or are the only one of their kind, and that do not cross."""
    places = {cell: i for rank in ranks for i, cell in enumerate(rank)}
    columns = {cell: _Column(cell) for rank in ranks for cell in rank}
    joined: dict[int, list[tuple[int, int]]] = {}
    for step in _straight(steps):
        ends = places[step.start], places[step.end]
        crossed = any((ends[0] - a) * (ends[1] - b) <= 0 for a, b in joined.get(step.start.rank, ()))
        if not crossed:
            joined.setdefault(step.start.rank, []).append(ends)
            above, below = columns[step.start], columns[step.end]
            away = above.offsets[step.start] + step.leaves - step.arrives - below.offsets[step.end]
            for cell, offset in below.offsets.items():
                above.offsets[cell] = offset + away
                columns[cell] = above
    return columns


def _straight(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield the lines to keep straight, those first that matter most."""
    kinds: list[list[Step]] = [[], [], []]
    for step in steps:
        kinds[step.start.child + step.end.child].append(step)
    passing, ends, direct = kinds
    for group in (passing, direct, ends):
        leaving: dict[Cell, int] = {}
        arriving: dict[Cell, int] = {}
        for step in group:
            leaving[step.start] = leaving.get(step.start, 0) + 1
            arriving[step.end] = arriving.get(step.end, 0) + 1
        yield from (step for step in group if leaving[step.start] == arriving[step.end] == 1)


def _from_left(columns: dict[Cell, _Column]) -> Iterator[_Column]:
    """Yield columns so that each comes after those to its left."""
    waiting = {id(column): len(column.left) for column in columns.values()}
    ready = [column for column in dict.fromkeys(columns.values()) if not column.left]
    while ready:
        column = ready.pop()
        yield column
        for other, _ in column.right:
            waiting[id(other)] -= 1
            if waiting[id(other)] == 0:
                ready.append(other)

"""Coordinate assignment: the positions of vertices along their ranks, for straight lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from expkit.diagram.ranks import Edge, Vertex

__all__ = ["assign_coordinates"]

GAP = 30.0
"""Distance between neighbours in a rank."""
LINE_GAP = 14.0
"""Distance between neighbours of which one is a dummy vertex."""
SWEEPS = 24
DUMMY_STRENGTH = 0.2
"""Strength of edges to dummy vertices, relative to edges between children."""


class _Column:
    """Vertices of consecutive ranks joined by straight lines, which move as one."""

    def __init__(self, vertex: Vertex) -> None:
        self.x = 0.0
        self.offsets = {vertex: 0.0}
        """Offsets of the middles of vertices from the column's position."""
        self.left: list[tuple[_Column, float]] = []
        """Columns to the left in some rank, with the minimum distance."""
        self.right: list[tuple[_Column, float]] = []
        self.pulls: list[tuple[float, _Column, float]] = []
        """Strength, the column at the other end, and the ideal offset from it."""


def assign_coordinates(ranks: Sequence[Sequence[Vertex]], edges: Sequence[Edge]) -> None:
    """Assign every vertex its middle ``x``, with lines as straight as the distances allow."""
    columns = _columns(ranks, edges)
    for rank in ranks:
        for one, other in pairwise(rank):
            left, right = columns[one], columns[other]
            apart = (one.width + other.width) / 2 + (GAP if one.child and other.child else LINE_GAP)
            apart += left.offsets[one] - right.offsets[other]
            left.right.append((right, apart))
            right.left.append((left, apart))
    for edge in edges:
        above, below = columns[edge.start], columns[edge.end]
        if above is not below:
            strength = 1.0 if edge.start.child and edge.end.child else DUMMY_STRENGTH
            away = above.offsets[edge.start] + edge.leaves - edge.arrives - below.offsets[edge.end]
            below.pulls.append((strength, above, away))
            above.pulls.append((strength, below, -away))
    ordered = list(_from_left(columns))
    for column in ordered:
        column.x = max((other.x + apart for other, apart in column.left), default=0.0)
    for sweep in range(SWEEPS):
        for column in reversed(ordered) if sweep % 2 == 0 else ordered:
            _move(column)
    for vertex, column in columns.items():
        vertex.x = column.x + column.offsets[vertex]


def _move(column: _Column) -> None:
    """Move a column to the weighted mean of its ideal positions, between its neighbours."""
    weight = sum(strength for strength, _, _ in column.pulls)
    if weight:
        target = sum(strength * (other.x + away) for strength, other, away in column.pulls) / weight
        low = max((other.x + apart for other, apart in column.left), default=-math.inf)
        high = min((other.x - apart for other, apart in column.right), default=math.inf)
        column.x = max(low, min(target, high))


def _columns(ranks: Sequence[Sequence[Vertex]], edges: Sequence[Edge]) -> dict[Vertex, _Column]:
    """Join vertices of adjacent ranks by lines that can be straight and do not cross."""
    positions = {vertex: i for rank in ranks for i, vertex in enumerate(rank)}
    columns = {vertex: _Column(vertex) for rank in ranks for vertex in rank}
    joined: dict[int, list[tuple[int, int]]] = {}
    for edge in _straight(edges):
        ends = positions[edge.start], positions[edge.end]
        crossed = any((ends[0] - a) * (ends[1] - b) <= 0 for a, b in joined.get(edge.start.rank, ()))
        if not crossed:
            joined.setdefault(edge.start.rank, []).append(ends)
            above, below = columns[edge.start], columns[edge.end]
            away = above.offsets[edge.start] + edge.leaves - edge.arrives - below.offsets[edge.end]
            for vertex, offset in below.offsets.items():
                above.offsets[vertex] = offset + away
                columns[vertex] = above
    return columns


def _straight(edges: Sequence[Edge]) -> Iterator[Edge]:
    """Yield the lines to keep straight, the most important ones first."""
    kinds: list[list[Edge]] = [[], [], []]
    for edge in edges:
        kinds[edge.start.child + edge.end.child].append(edge)
    passing, ends, direct = kinds
    for group in (passing, direct, ends):
        leaving: dict[Vertex, int] = {}
        arriving: dict[Vertex, int] = {}
        for edge in group:
            leaving[edge.start] = leaving.get(edge.start, 0) + 1
            arriving[edge.end] = arriving.get(edge.end, 0) + 1
        yield from (edge for edge in group if leaving[edge.start] == arriving[edge.end] == 1)


def _from_left(columns: dict[Vertex, _Column]) -> Iterator[_Column]:
    """Yield columns so that each follows those to its left."""
    waiting = {id(column): len(column.left) for column in columns.values()}
    ready = [column for column in dict.fromkeys(columns.values()) if not column.left]
    while ready:
        column = ready.pop()
        yield column
        for other, _ in column.right:
            waiting[id(other)] -= 1
            if waiting[id(other)] == 0:
                ready.append(other)

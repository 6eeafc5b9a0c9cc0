"""Crossing reduction: the order of the vertices within ranks."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence

from expkit.diagram.ranks import Edge, Vertex

__all__ = ["reduce_crossings"]

SWEEPS = 8


def reduce_crossings(ranks: Sequence[Sequence[Vertex]], edges: Sequence[Edge]) -> list[list[Vertex]]:
    """Return the ranks with vertices sorted by the mean positions of their neighbours.

    The best of several sweeps counts; the given order is kept unless another one has fewer crossings.
    """
    now = [list(rank) for rank in ranks]
    positions = {vertex: float(i) for rank in now for i, vertex in enumerate(rank)}
    best, fewest = [list(rank) for rank in now], _crossings(edges, positions)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        near: dict[Vertex, list[float]] = {}
        by_rank: dict[int, list[Edge]] = {}
        for edge in edges:
            by_rank.setdefault((edge.end if downwards else edge.start).rank, []).append(edge)
        for rank in now if downwards else reversed(now):
            for edge in by_rank.get(rank[0].rank, ()) if rank else ():
                leaves, arrives = _positions_of(edge, positions)
                near.setdefault(edge.end if downwards else edge.start, []).append(leaves if downwards else arrives)
            means = {vertex: _mean(near.get(vertex, [positions[vertex]])) for vertex in rank}
            rank.sort(key=means.__getitem__)
            positions.update((vertex, float(i)) for i, vertex in enumerate(rank))
        if (crossings := _crossings(edges, positions)) < fewest:
            best, fewest = [list(rank) for rank in now], crossings
    return best


def _positions_of(edge: Edge, positions: Mapping[Vertex, float]) -> tuple[float, float]:
    """Return the positions at which a line leaves and enters the ranks."""
    start, end = edge.start, edge.end
    return (
        positions[start] + (0.9 * edge.leaves / start.width if start.width else 0.0),
        positions[end] + (0.9 * edge.arrives / end.width if end.width else 0.0),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _crossings(edges: Sequence[Edge], positions: Mapping[Vertex, float]) -> int:
    by_rank: dict[int, list[tuple[float, float]]] = {}
    for edge in edges:
        by_rank.setdefault(edge.start.rank, []).append(_positions_of(edge, positions))
    count = 0
    for pairs in by_rank.values():
        seen: list[float] = []
        for _, end in sorted(pairs):
            count += len(seen) - bisect_right(seen, end)
            insort(seen, end)
    return count

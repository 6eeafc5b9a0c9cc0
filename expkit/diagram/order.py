"""The order of cells within ranks, so that few lines cross."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence

from expkit.diagram.cells import Cell, Step

__all__ = ["order"]

SWEEPS = 8


def order(ranks: Sequence[Sequence[Cell]], steps: Sequence[Step]) -> list[list[Cell]]:
    """Return the ranks with cells sorted by their neighbours' mean places, of all sweeps the one with fewest crossings.

    The order given is kept where nothing is gained by another.
    """
    now = [list(rank) for rank in ranks]
    places = {cell: float(i) for rank in now for i, cell in enumerate(rank)}
    best, fewest = [list(rank) for rank in now], _crossings(steps, places)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        downwards = sweep % 2 == 0
        near: dict[Cell, list[float]] = {}
        by_rank: dict[int, list[Step]] = {}
        for step in steps:
            by_rank.setdefault((step.end if downwards else step.start).rank, []).append(step)
        for rank in now if downwards else reversed(now):
            for step in by_rank.get(rank[0].rank, ()) if rank else ():
                leaves, arrives = _ends(step, places)
                near.setdefault(step.end if downwards else step.start, []).append(leaves if downwards else arrives)
            means = {cell: sum(near[cell]) / len(near[cell]) if cell in near else places[cell] for cell in rank}
            rank.sort(key=means.__getitem__)
            places.update((cell, float(i)) for i, cell in enumerate(rank))
        if (crossings := _crossings(steps, places)) < fewest:
            best, fewest = [list(rank) for rank in now], crossings
    return best


def _ends(step: Step, places: Mapping[Cell, float]) -> tuple[float, float]:
    """Return where a line begins and ends, in places of the ranks."""
    start, end = step.start, step.end
    return (
        places[start] + (0.9 * step.leaves / start.width if start.width else 0.0),
        places[end] + (0.9 * step.arrives / end.width if end.width else 0.0),
    )


def _crossings(steps: Sequence[Step], places: Mapping[Cell, float]) -> int:
    by_rank: dict[int, list[tuple[float, float]]] = {}
    for step in steps:
        by_rank.setdefault(step.start.rank, []).append(_ends(step, places))
    count = 0
    for pairs in by_rank.values():
        seen: list[float] = []
        for _, end in sorted(pairs):
            count += len(seen) - bisect_right(seen, end)
            insort(seen, end)
    return count

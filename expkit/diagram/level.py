"""One level of a picture: what stands in a box, in ranks from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from expkit.diagram.cells import Cell, Step
from expkit.diagram.order import order
from expkit.diagram.place import place
from expkit.network.order import topological_order

__all__ = ["Level", "Segment", "incoming", "outgoing"]

RANK_GAP = 30.0
PORT_GAP = 14.0
"""Between a box's edge, where lines pass through, and the rank beside it."""


def incoming(source: str) -> str:
    """Return the key of the place in a box's top edge where a source's lines come in."""
    return f"in:{source}"


def outgoing(source: str) -> str:
    """Return the key of the place in a box's bottom edge where a source's lines go out."""
    return f"out:{source}"


@dataclass(frozen=True)
class Segment:
    """A part of an edge within one level: from a child or the top edge to a child or the bottom edge."""

    start: str
    end: str
    source: str
    """The layer or input that the whole edge comes from."""


class Level:
    """Cells in ranks: the rank is the longest path from the top."""

    def __init__(self, children: Sequence[Cell], segments: Sequence[Segment], least_width: float = 0.0) -> None:
        self.cells = {cell.key: cell for cell in children}
        self.entries = {item.source: Cell(item.start) for item in segments if item.start == incoming(item.source)}
        self.exits = {item.source: Cell(item.end) for item in segments if item.end == outgoing(item.source)}
        self.cells |= {cell.key: cell for cell in (*self.entries.values(), *self.exits.values())}
        self.backward = self._rank({cell.key: None for cell in children}, segments)
        """Segments that close a cycle of boxes; they have no place in the ranks."""
        self.steps = self._cut([item for item in segments if item not in self.backward])
        ranks: list[list[Cell]] = [[] for _ in range(1 + max((cell.rank for cell in self.cells.values()), default=0))]
        for cell in self.cells.values():
            ranks[cell.rank].append(cell)
        self.ranks = order(ranks, self.steps)
        place(self.ranks, self.steps)
        self.width = self._from_left(least_width)
        self.floors: list[float] = []
        """Where each rank ends."""
        self.height = self._from_top()

    def _rank(self, children: Mapping[str, None], segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Give every cell its rank; return the segments that go up."""
        inner = [item for item in segments if item.start in children and item.end in children]
        sources: dict[str, set[str]] = {key: set() for key in children}
        for item in inner:
            sources[item.end].add(item.start)
        ordered = list(topological_order(sources))
        after = {key: i for i, key in enumerate(ordered)}
        backward = tuple(item for item in inner if after[item.start] >= after[item.end])
        reads: dict[str, list[str]] = {}
        readers: dict[str, list[str]] = {}
        for item in segments:
            if item not in backward:
                reads.setdefault(item.end, []).append(item.start)
                readers.setdefault(item.start, []).append(item.end)
        for key in ordered:
            self.cells[key].rank = 1 + max((self.cells[start].rank for start in reads.get(key, ())), default=0)
        for key in reversed(ordered):  # What reads nothing stands right above what reads it.
            below = [self.cells[end].rank for end in readers.get(key, ()) if end in after]
            if below and not reads.get(key):
                self.cells[key].rank = min(below) - 1
        last = 1 + max((self.cells[key].rank for key in ordered), default=0)
        for cell in self.exits.values():
            cell.rank = last
        return backward

    def _cut(self, segments: Sequence[Segment]) -> list[Step]:
        """Cut segments into steps from rank to rank; lines of one source that pass a rank are one there."""
        steps: dict[tuple[str, str, str], Step] = {}
        for item in segments:
            before, end = self.cells[item.start], self.cells[item.end]
            for rank in range(before.rank + 1, end.rank + 1):
                key = item.end if rank == end.rank else f"by:{rank}:{item.start}:{item.source}"
                cell = self.cells.setdefault(key, Cell(key, rank=rank))
                steps.setdefault((before.key, key, item.source), Step(before, cell, item.source))
                before = cell
        return list(steps.values())

    def _from_left(self, least_width: float) -> float:
        left = min((cell.x - cell.width / 2 for cell in self.cells.values()), default=0.0)
        right = max((cell.x + cell.width / 2 for cell in self.cells.values()), default=0.0)
        width = max(right - left, least_width)
        shift = (width - (right - left)) / 2 - left
        for cell in self.cells.values():
            cell.x += shift
        return width

    def _from_top(self) -> float:
        y = 0.0
        for i, rank in enumerate(self.ranks):
            if i > 1 or (i == 1 and self.ranks[0]):
                beside_edge = (i == 1) or (i == len(self.ranks) - 1 and bool(self.exits))
                y += PORT_GAP if beside_edge else RANK_GAP
            for cell in rank:
                cell.y = y
            y += max((cell.height for cell in rank), default=0.0)
            self.floors.append(y)
        return y

"""Layout of one box: its children in ranks from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from expkit.diagram.coordinates import assign_coordinates
from expkit.diagram.crossings import reduce_crossings
from expkit.diagram.ranks import Edge, Vertex
from expkit.network.order import topological_order

__all__ = ["BoxLayout", "Segment", "incoming", "outgoing"]

RANK_GAP = 30.0
PORT_GAP = 14.0
"""Distance between a border with ports and the rank beside it."""


def incoming(source: str) -> str:
    """Return the key of the port on a box's top border where a source's lines enter."""
    return f"in:{source}"


def outgoing(source: str) -> str:
    """Return the key of the port on a box's bottom border where a source's lines leave."""
    return f"out:{source}"


@dataclass(frozen=True)
class Segment:
    """Segment of a line inside one box: from a child or the top border to a child or the bottom border."""

    start: str
    end: str
    source: str
    """The layer or input at the start of the whole line."""


class BoxLayout:
    """Vertices in ranks; a rank is the length of the longest path from the top."""

    def __init__(self, children: Sequence[Vertex], segments: Sequence[Segment], min_width: float = 0.0) -> None:
        self.vertices = {vertex.key: vertex for vertex in children}
        self.entries = {item.source: Vertex(key=item.start) for item in segments if item.start == incoming(item.source)}
        self.exits = {item.source: Vertex(key=item.end) for item in segments if item.end == outgoing(item.source)}
        self.vertices |= {vertex.key: vertex for vertex in (*self.entries.values(), *self.exits.values())}
        self.backward = self._rank({vertex.key: None for vertex in children}, segments)
        """Segments that close a cycle of boxes; they are in no rank."""
        self.edges = self._cut([item for item in segments if item not in self.backward])
        ranks: list[list[Vertex]] = [
            [] for _ in range(1 + max((vertex.rank for vertex in self.vertices.values()), default=0))
        ]
        for vertex in self.vertices.values():
            ranks[vertex.rank].append(vertex)
        self.ranks = reduce_crossings(ranks, self.edges)
        assign_coordinates(self.ranks, self.edges)
        self.width = self._from_left(min_width)
        self.floors: list[float] = []
        """Lower ends of the ranks."""
        self.height = self._from_top()

    def _rank(self, children: Mapping[str, None], segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Assign the ranks; return the segments that lead upwards."""
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
            self.vertices[key].rank = 1 + max((self.vertices[start].rank for start in reads.get(key, ())), default=0)
        for key in reversed(ordered):  # A child that reads nothing is placed right above its reader.
            below = [self.vertices[end].rank for end in readers.get(key, ()) if end in after]
            if below and not reads.get(key):
                self.vertices[key].rank = min(below) - 1
        last = 1 + max((self.vertices[key].rank for key in ordered), default=0)
        for vertex in self.exits.values():
            vertex.rank = last
        return backward

    def _cut(self, segments: Sequence[Segment]) -> list[Edge]:
        """Split segments into edges between adjacent ranks; lines of one source share their dummy vertices."""
        edges: dict[tuple[str, str, str], Edge] = {}
        for item in segments:
            before, end = self.vertices[item.start], self.vertices[item.end]
            for rank in range(before.rank + 1, end.rank + 1):
                key = item.end if rank == end.rank else f"by:{rank}:{item.start}:{item.source}"
                vertex = self.vertices.setdefault(key, Vertex(key=key, rank=rank))
                edges.setdefault((before.key, key, item.source), Edge(before, vertex, item.source))
                before = vertex
        return list(edges.values())

    def _from_left(self, min_width: float) -> float:
        left = min((vertex.x - vertex.width / 2 for vertex in self.vertices.values()), default=0.0)
        right = max((vertex.x + vertex.width / 2 for vertex in self.vertices.values()), default=0.0)
        width = max(right - left, min_width)
        shift = (width - (right - left)) / 2 - left
        for vertex in self.vertices.values():
            vertex.x += shift
        return width

    def _from_top(self) -> float:
        y = 0.0
        for i, rank in enumerate(self.ranks):
            if i > 1 or (i == 1 and self.ranks[0]):
                beside_border = (i == 1) or (i == len(self.ranks) - 1 and bool(self.exits))
                y += PORT_GAP if beside_border else RANK_GAP
            for vertex in rank:
                vertex.y = y
            y += max((vertex.height for vertex in rank), default=0.0)
            self.floors.append(y)
        return y

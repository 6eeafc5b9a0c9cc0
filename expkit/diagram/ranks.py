"""Vertices in the ranks of a box, and edges between adjacent ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Edge", "Vertex"]


@dataclass(kw_only=True, eq=False)
class Vertex:
    """A child of the box, a port on its border, or a dummy vertex of an edge that passes the rank."""

    key: str
    width: float = 0.0
    height: float = 0.0
    entries: Mapping[str, float] = field(default_factory=dict)
    """Offsets from the middle at which lines enter, by source; 0 if not given."""
    exits: Mapping[str, float] = field(default_factory=dict)
    """Offsets from the middle at which lines leave, by source; 0 if not given."""
    """Offsets from the middle at which lines leave, by source; 0 if not given."""
    child: bool = False
    rank: int = 0
    x: float = 0.0
    """Middle."""
    y: float = 0.0
    """Top."""


@dataclass(frozen=True)
class Edge:
    """An edge from a vertex to one of the next rank."""

    start: Vertex
    end: Vertex
    source: str
    """The layer or input at the start of the whole line."""

    @property
    def leaves(self) -> float:
        """Offset from the middle of the start at which the line leaves."""
        return self.start.exits.get(self.source, 0.0)

    @property
    def arrives(self) -> float:
        """Offset from the middle of the end at which the line enters."""
        return self.end.entries.get(self.source, 0.0)

"""What stands in the ranks of a level, and the lines from rank to rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Cell", "Step"]


@dataclass(eq=False)
class Cell:
    """What takes a place in a rank: a child, a port in the box's edge, or a line that passes by."""

    key: str
    width: float = 0.0
    height: float = 0.0
    entries: Mapping[str, float] = field(default_factory=dict)
    """Where lines come in, from the middle, by source; in the middle where not given."""
    exits: Mapping[str, float] = field(default_factory=dict)
    child: bool = False
    rank: int = 0
    x: float = 0.0
    """Middle."""
    y: float = 0.0
    """Top."""


@dataclass(frozen=True)
class Step:
    """A line from a cell to one of the next rank."""

    start: Cell
    end: Cell
    source: str
    """The layer or input that the line comes from, wherever it began."""

    @property
    def leaves(self) -> float:
        """How far from the start's middle the line goes out."""
        return self.start.exits.get(self.source, 0.0)

    @property
    def arrives(self) -> float:
        """How far from the end's middle the line comes in."""
        return self.end.entries.get(self.source, 0.0)

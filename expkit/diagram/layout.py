"""Where everything of a picture stands: a box is laid out by itself, then takes its place as one thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from expkit.diagram.cells import Cell, Step
from expkit.diagram.level import Level, Segment, incoming, outgoing
from expkit.diagram.picture import Box, Item, Picture

__all__ = ["Layout", "Line", "Rect", "layout"]

SIDE, TOP, BOTTOM = 14.0, 30.0, 14.0
"""Between a box's edges and what stands inside; its title is at the top."""
STACK = 8.0
"""How far the cards behind a repeated box look out."""
ENTRY_GAP = 16.0
"""Between the points where several lines reach one layer."""


@dataclass(frozen=True)
class Rect:
    """A place on the page, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height


@dataclass(frozen=True)
class Line:
    """A line downwards: straight from ``top``, bent between ``bend`` and ``reach``, straight to ``end``."""

    x: float
    top: float
    bend: float
    to: float
    reach: float
    end: float
    arrow: bool


@dataclass
class Layout:
    """The whole page."""

    width: float = 0.0
    height: float = 0.0
    items: list[tuple[Item, Rect]] = field(default_factory=list)
    boxes: list[tuple[Box, Rect]] = field(default_factory=list)
    """Outer ones first."""
    lines: list[Line] = field(default_factory=list)


def layout(
    picture: Picture, size: Callable[[Item], tuple[float, float]], title_width: Callable[[Box], float]
) -> Layout:
    """Return where everything stands.

    Args:
        picture: what is drawn.
        size: width and height of an item.
        title_width: width of a box's title.
    """
    levels = _Levels(_segments(picture), size, title_width)
    root = levels.of(picture.root)
    page = Layout(root.width, root.height)
    levels.lay(picture.root, root, 0.0, 0.0, page)
    return page


def _segments(picture: Picture) -> dict[str, dict[Segment, None]]:
    """Cut every edge where it crosses the edge of a box; return the parts by the box's path, each once."""
    around: dict[str, tuple[str, ...]] = {}

    def walk(box: Box, outer: tuple[str, ...]) -> None:
        for child in box.children:
            around[child.path] = outer
            if isinstance(child, Box):
                walk(child, (*outer, child.path))

    walk(picture.root, (picture.root.path,))
    segments: dict[str, dict[Segment, None]] = {}
    for source, reader in picture.edges:
        outwards, inwards = (*around[source], source), (*around[reader], reader)
        common = next(i for i, (a, b) in enumerate(zip(outwards, inwards, strict=False)) if a != b)
        found = [(outwards[common - 1], Segment(outwards[common], inwards[common], source))]
        for box, child in zip(outwards[common:], outwards[common + 1 :], strict=False):
            found.append((box, Segment(child, outgoing(source), source)))
        for box, child in zip(inwards[common:], inwards[common + 1 :], strict=False):
            found.append((box, Segment(incoming(source), child, source)))
        for box, segment in found:
            segments.setdefault(box, {})[segment] = None
    return segments


class _Levels:
    """Levels by the path of their box, inner ones first."""

    def __init__(
        self,
        segments: Mapping[str, Mapping[Segment, None]],
        size: Callable[[Item], tuple[float, float]],
        title_width: Callable[[Box], float],
    ) -> None:
        self._segments, self._size, self._title_width = segments, size, title_width
        self._levels: dict[str, Level] = {}

    def of(self, box: Box) -> Level:
        """Lay out a box by itself."""
        cells = [self._cell(child) for child in box.children]
        level = Level(cells, list(self._segments.get(box.path, ())), self._title_width(box))
        self._levels[box.path] = level
        return level

    def _cell(self, child: Item | Box) -> Cell:
        if isinstance(child, Item):
            width, height = self._size(child)
            return Cell(child.path, width, height, child=True)
        level = self.of(child)
        stack = STACK if child.times > 1 else 0.0
        return Cell(
            child.path,
            level.width + 2 * SIDE + 2 * stack,
            level.height + TOP + BOTTOM + stack,
            {source: cell.x - level.width / 2 for source, cell in level.entries.items()},
            {source: cell.x - level.width / 2 for source, cell in level.exits.items()},
            child=True,
        )

    def lay(self, box: Box, level: Level, x: float, y: float, page: Layout) -> None:
        """Put a level's content onto the page, its upper left corner at a point."""
        stacked = set()
        for child in box.children:
            cell = level.cells[child.path]
            left, top = x + cell.x - cell.width / 2, y + cell.y
            if isinstance(child, Item):
                page.items.append((child, Rect(left, top, cell.width, cell.height)))
                continue
            stack = STACK if child.times > 1 else 0.0
            if stack:
                stacked.add(child.path)
            page.boxes.append((child, Rect(left + stack, top, cell.width - 2 * stack, cell.height - stack)))
            self.lay(child, self._levels[child.path], left + stack + SIDE, top + TOP, page)
        items = {child.path for child in box.children if isinstance(child, Item)}
        spread = _spread(level.steps, items)
        back = [Step(level.cells[item.start], level.cells[item.end], item.source) for item in level.backward]
        entries, exits = set(level.entries.values()), set(level.exits.values())
        for step in (*level.steps, *back):
            start, end = step.start, step.end
            bottom = start.y + start.height - (STACK if start.key in stacked else 0.0)
            top = bottom - (TOP if start in entries else 0.0)
            passed = level.floors[end.rank] if not end.child else end.y
            page.lines.append(
                Line(
                    x + start.x + step.leaves,
                    y + top,
                    y + max(bottom, level.floors[start.rank]),
                    x + end.x + step.arrives + spread.get(step, 0.0),
                    y + end.y,
                    y + passed + (BOTTOM if end in exits else 0.0),
                    end.key in items,
                )
            )


def _spread(steps: list[Step], items: set[str]) -> dict[Step, float]:
    """Return how far from the middle of a layer each of several lines reaches it, in the order they come from.

    A line from right above comes in right in the middle.
    """
    arriving: dict[str, list[Step]] = {}
    for step in steps:
        if step.end.key in items:
            arriving.setdefault(step.end.key, []).append(step)
    spread: dict[Step, float] = {}
    for together in arriving.values():
        together.sort(key=lambda step: step.start.x + step.leaves)
        middle = together[0].end.x
        straight = [i for i, step in enumerate(together) if abs(step.start.x + step.leaves - middle) < 1]
        centre = straight[0] if straight else (len(together) - 1) / 2
        gap = min(ENTRY_GAP, together[0].end.width / (2 * len(together)))
        spread.update((step, (i - centre) * gap) for i, step in enumerate(together))
    return spread

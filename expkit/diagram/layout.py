"""Layout of the page: boxes are laid out from the inside outwards, each as one vertex of the box around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from expkit.diagram.box_layout import BoxLayout, Segment, incoming, outgoing
from expkit.diagram.drawing import Box, Drawing, Item
from expkit.diagram.ranks import Edge, Vertex

__all__ = ["Layout", "Line", "Rect", "layout"]

SIDE, TOP, BOTTOM = 14.0, 30.0, 14.0
"""Distances between a box's borders and its content; the title is at the top."""
STACK = 8.0
"""Offset of the cards behind a repeated box."""
ENTRY_GAP = 16.0
"""Distance between the points where several lines reach one layer."""


@dataclass(frozen=True, kw_only=True)
class Rect:
    """A rectangle on the page, in pixels."""

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


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line downwards: straight from ``top``, bent between ``bend`` and ``reach``, straight to ``end``."""

    x: float
    top: float
    bend: float
    to: float
    reach: float
    end: float
    arrow: bool


@dataclass(kw_only=True)
class Layout:
    """The whole page."""

    width: float = 0.0
    height: float = 0.0
    items: list[tuple[Item, Rect]] = field(default_factory=list)
    boxes: list[tuple[Box, Rect]] = field(default_factory=list)
    """Outer boxes first."""
    lines: list[Line] = field(default_factory=list)


def layout(
    drawing: Drawing, size: Callable[[Item], tuple[float, float]], title_width: Callable[[Box], float]
) -> Layout:
    """Return the layout of a drawing.

    Args:
        drawing: the drawing.
        size: width and height of an item.
        title_width: width of a box's title.
    """
    layouts = _BoxLayouts(_segments(drawing), size, title_width)
    root = layouts.of(drawing.root)
    page = Layout(width=root.width, height=root.height)
    layouts.place(drawing.root, root, 0.0, 0.0, page)
    return page


def _segments(drawing: Drawing) -> dict[str, dict[Segment, None]]:
    """Split every line at the borders of boxes; return the distinct segments by the box's path."""
    around: dict[str, tuple[str, ...]] = {}

    def walk(box: Box, outer: tuple[str, ...]) -> None:
        for child in box.children:
            around[child.path] = outer
            if isinstance(child, Box):
                walk(child, (*outer, child.path))

    walk(drawing.root, (drawing.root.path,))
    segments: dict[str, dict[Segment, None]] = {}
    for source, reader in drawing.edges:
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


class _BoxLayouts:
    """Levels by the path of their box, inner ones first."""

    def __init__(
        self,
        segments: Mapping[str, Mapping[Segment, None]],
        size: Callable[[Item], tuple[float, float]],
        title_width: Callable[[Box], float],
    ) -> None:
        self._segments, self._size, self._title_width = segments, size, title_width
        self._layouts: dict[str, BoxLayout] = {}

    def of(self, box: Box) -> BoxLayout:
        """Lay out a box by itself."""
        vertices = [self._vertex(child) for child in box.children]
        box_layout = BoxLayout(vertices, list(self._segments.get(box.path, ())), self._title_width(box))
        self._layouts[box.path] = box_layout
        return box_layout

    def _vertex(self, child: Item | Box) -> Vertex:
        if isinstance(child, Item):
            width, height = self._size(child)
            return Vertex(key=child.path, width=width, height=height, child=True)
        box_layout = self.of(child)
        stack = STACK if child.times > 1 else 0.0
        return Vertex(
            key=child.path,
            width=box_layout.width + 2 * SIDE + 2 * stack,
            height=box_layout.height + TOP + BOTTOM + stack,
            entries={source: vertex.x - box_layout.width / 2 for source, vertex in box_layout.entries.items()},
            exits={source: vertex.x - box_layout.width / 2 for source, vertex in box_layout.exits.items()},
            child=True,
        )

    def place(self, box: Box, box_layout: BoxLayout, x: float, y: float, page: Layout) -> None:
        """Put a box_layout's content onto the page, its upper left corner at a point."""
        stacked = set()
        for child in box.children:
            vertex = box_layout.vertices[child.path]
            left, top = x + vertex.x - vertex.width / 2, y + vertex.y
            if isinstance(child, Item):
                page.items.append((child, Rect(x=left, y=top, width=vertex.width, height=vertex.height)))
                continue
            stack = STACK if child.times > 1 else 0.0
            if stack:
                stacked.add(child.path)
            page.boxes.append(
                (child, Rect(x=left + stack, y=top, width=vertex.width - 2 * stack, height=vertex.height - stack))
            )
            self.place(child, self._layouts[child.path], left + stack + SIDE, top + TOP, page)
        items = {child.path for child in box.children if isinstance(child, Item)}
        spread = _spread(box_layout.edges, items)
        back = [
            Edge(box_layout.vertices[item.start], box_layout.vertices[item.end], item.source)
            for item in box_layout.backward
        ]
        entries, exits = set(box_layout.entries.values()), set(box_layout.exits.values())
        for edge in (*box_layout.edges, *back):
            start, end = edge.start, edge.end
            bottom = start.y + start.height - (STACK if start.key in stacked else 0.0)
            top = bottom - (TOP if start in entries else 0.0)
            passed = box_layout.floors[end.rank] if not end.child else end.y
            page.lines.append(
                Line(
                    x=x + start.x + edge.leaves,
                    top=y + top,
                    bend=y + max(bottom, box_layout.floors[start.rank]),
                    to=x + end.x + edge.arrives + spread.get(edge, 0.0),
                    reach=y + end.y,
                    end=y + passed + (BOTTOM if end in exits else 0.0),
                    arrow=end.key in items,
                )
            )


def _spread(edges: list[Edge], items: set[str]) -> dict[Edge, float]:
    """Return the offsets from the middle of a layer at which several lines reach it, ordered by their starts.

    A line from right above reaches the middle.
    """
    arriving: dict[str, list[Edge]] = {}
    for edge in edges:
        if edge.end.key in items:
            arriving.setdefault(edge.end.key, []).append(edge)
    spread: dict[Edge, float] = {}
    for together in arriving.values():
        together.sort(key=lambda edge: edge.start.x + edge.leaves)
        middle = together[0].end.x
        straight = [i for i, edge in enumerate(together) if abs(edge.start.x + edge.leaves - middle) < 1]
        centre = straight[0] if straight else (len(together) - 1) / 2
        gap = min(ENTRY_GAP, together[0].end.width / (2 * len(together)))
        spread.update((edge, (i - centre) * gap) for i, edge in enumerate(together))
    return spread

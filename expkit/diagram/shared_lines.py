"""Lines between layers that share variables: straight across if nothing is in between, else around the side."""

from __future__ import annotations

from collections.abc import Sequence

from expkit.diagram.drawing import Drawing
from expkit.diagram.layout import Layout, Rect

__all__ = ["Points", "shared_lines"]

Points = tuple[tuple[float, float], ...]
LANE = 14.0
"""Distance between the drawing and a line around it, and between such lines."""


def shared_lines(drawing: Drawing, page: Layout) -> list[Points]:
    """Return the corners of the lines, one for each pair of layers that share variables."""
    items = {item.path: rect for item, rect in page.items}
    rects = [*items.values(), *(rect for _, rect in page.boxes)]
    lines: list[Points] = []
    lanes: list[tuple[float, float, float]] = []
    for first_path, second_path in drawing.shares:
        first, second = items[first_path], items[second_path]
        left, right = (first, second) if first.x <= second.x else (second, first)
        if across := _across(left, right, list(items.values())):
            lines.append(across)
        else:
            lines.append(_around(first, second, rects, lanes))
    return lines


def _across(left: Rect, right: Rect, items: Sequence[Rect]) -> Points | None:
    top, bottom = max(left.y, right.y), min(left.bottom, right.bottom)
    if bottom - top < 12 or right.x < left.right:
        return None
    y = (top + bottom) / 2
    if any(rect.y <= y <= rect.bottom and rect.right > left.right and rect.x < right.x for rect in items):
        return None
    return (left.right, y), (right.x, y)


def _around(first: Rect, second: Rect, rects: Sequence[Rect], lanes: list[tuple[float, float, float]]) -> Points:
    low, high = sorted(rect.y + rect.height / 2 for rect in (first, second))
    beside = [rect for rect in rects if rect.bottom >= low and rect.y <= high]
    to_right = max(rect.right for rect in beside)
    to_left = min(rect.x for rect in beside)
    rightwards = (to_right - first.right) + (to_right - second.right) <= (first.x - to_left) + (second.x - to_left)
    lane, away = (to_right + LANE, LANE) if rightwards else (to_left - LANE, -LANE)
    while any(abs(lane - x) < LANE and top <= high and bottom >= low for x, top, bottom in lanes):
        lane += away
    lanes.append((lane, low, high))
    start, end = ((rect.right if rightwards else rect.x, rect.y + rect.height / 2) for rect in (first, second))
    return start, (lane, start[1]), (lane, end[1]), end

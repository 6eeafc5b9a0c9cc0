"""The lines between layers that share variables: across where there is a clear way, else around the side."""

from __future__ import annotations

from collections.abc import Sequence

from expkit.diagram.layout import Layout, Rect
from expkit.diagram.picture import Picture

__all__ = ["Points", "ties"]

Points = tuple[tuple[float, float], ...]
LANE = 14.0
"""Between what is drawn and a line around it, and between such lines."""


def ties(picture: Picture, page: Layout) -> list[Points]:
    """Return the corners of a line for every two layers that share variables."""
    places = {item.path: rect for item, rect in page.items}
    rects = [*places.values(), *(rect for _, rect in page.boxes)]
    lines: list[Points] = []
    lanes: list[tuple[float, float, float]] = []
    for one, other in picture.shares:
        first, second = places[one], places[other]
        left, right = (first, second) if first.x <= second.x else (second, first)
        if across := _across(left, right, list(places.values())):
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
    ends = sorted(rect.y + rect.height / 2 for rect in (first, second))
    low, high = ends
    beside = [rect for rect in rects if rect.bottom >= low and rect.y <= high]
    to_right = max(rect.right for rect in beside)
    to_left = min(rect.x for rect in beside)
    rightwards = (to_right - first.right) + (to_right - second.right) <= (first.x - to_left) + (second.x - to_left)
    lane, away = (to_right + LANE, LANE) if rightwards else (to_left - LANE, -LANE)
    while any(abs(lane - x) < LANE and begin <= high and end >= low for x, begin, end in lanes):
        lane += away
    lanes.append((lane, low, high))
    one, other = ((rect.right if rightwards else rect.x, rect.y + rect.height / 2) for rect in (first, second))
    return one, (lane, one[1]), (lane, other[1]), other

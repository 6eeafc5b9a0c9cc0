"""Parallel coordinates: a line for each run, through its parameters to its objective."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import AxisScale, number_text, scale_of, value_texts
from expkit.report.plots.colors import caption, colors_of
from expkit.report.rows import RunRow
from expkit.report.runs import Sweep

__all__ = ["parallel_coordinates"]

MAX_TICKS = 9
MAX_AXES = 12
POINTS_PER_SEGMENT = 24
"""Lines are curved between two axes, so that they can be followed through crossings."""


def parallel_coordinates(sweep: Sweep, title: str) -> Figure | None:
    """Return the runs as lines over an axis for each varied key and one for the objective, colored by rank."""
    keys = list(sweep.varied)[:MAX_AXES]
    if not keys or len(sweep.rows) < 2:
        return None
    columns: list[list[Any]] = [[row.values.get(key) for row in sweep.rows] for key in keys]
    scores = [sweep.score(row) for row in sweep.finished]
    scales = [scale_of(column) for column in columns]
    left = style.Margins(left=0.55, right=0.95, top=0.42, bottom=0.1)
    dropped = f"; {len(sweep.varied) - MAX_AXES} more parameters are not shown" if len(sweep.varied) > MAX_AXES else ""
    figure, (axes,) = style.panels(1, 1, (max(4.2, 1.55 * len(keys)), 3.4), title, f"{caption(sweep)}{dropped}", left)
    axes.set(xlim=(-0.02, len(keys) + 0.02), ylim=(-0.14 if sweep.unfinished else -0.03, 1.03))
    axes.set_axis_off()
    colors = colors_of(sweep)
    target = scale_of(scores) if scores else AxisScale()
    height = {id(row): _height(target, scores, sweep.score(row)) for row in sweep.finished}
    for row in reversed(sweep.rows):
        heights = [
            _height(scale, column, row.values.get(key))
            for key, scale, column in zip(keys, scales, columns, strict=True)
        ]
        _line(axes, [*heights, height.get(id(row), -0.1)], row, colors, best=row is sweep.best)
    for index, (key, scale, column) in enumerate(zip(keys, scales, columns, strict=True)):
        _axis(axes, index, sweep.names[key], scale, column)
    if scores:
        _axis(axes, len(keys), sweep.metric, target, scores, right=True)
    else:
        axes.text(len(keys), 1.09, sweep.metric, ha="center", fontsize=style.NORMAL, color=style.INK)
    if sweep.unfinished:
        axes.text(len(keys) + 0.03, -0.1, "not finished", va="center", fontsize=style.SMALL, color=style.MUTED)
    return figure


def _height(scale: AxisScale, values: Sequence[Any], value: Any) -> float:
    """Return the height of a value on an axis, 0 at the bottom and 1 at the top."""
    positions = [scale.position(other) for other in values]
    low, high = min(positions), max(positions)
    return (scale.position(value) - low) / (high - low) if high > low else 0.5


def _line(axes: Any, heights: Sequence[float], row: RunRow, colors: Any, best: bool) -> None:
    bend = (1 - np.cos(np.linspace(0, np.pi, POINTS_PER_SEGMENT))) / 2
    x = np.concatenate([index + np.linspace(0, 1, POINTS_PER_SEGMENT) for index in range(len(heights) - 1)])
    y = np.concatenate([a + (b - a) * bend for a, b in pairwise(heights)])
    color = colors.get(id(row))
    if color is None:
        axes.plot(x, y, ":", color=style.BAD, linewidth=1.2)
        axes.plot([len(heights) - 1], [heights[-1]], "x", color=style.MUTED, markersize=5, clip_on=False)
    else:
        axes.plot(x, y, color=color, linewidth=3.2 if best else 1.4, alpha=1 if best else 0.8, zorder=3 if best else 2)


def _axis(axes: Any, x: int, name: str, scale: AxisScale, values: Sequence[Any], right: bool = False) -> None:
    axes.plot([x, x], [0, 1], color=style.INK, linewidth=1, zorder=4)
    axes.text(x, 1.09, name, ha="center", va="bottom", fontsize=style.NORMAL, color=style.INK, fontweight="bold")
    text_of = value_texts(values)
    distinct = list({text_of(value): value for value in values}.values())
    ticks: dict[str, float] = {text_of(value): _height(scale, values, value) for value in distinct}
    if len(distinct) > MAX_TICKS and not scale.words:
        low, high = min(map(scale.position, values)), max(map(scale.position, values))
        even = np.linspace(low, high, 5)
        ticks = {
            number_text(10**tick if scale.logarithmic else tick): (tick - low) / (high - low) for tick in even.tolist()
        }
    side = 1 if right else -1
    for text, height in _without_overlaps(ticks):
        axes.plot([x, x + side * 0.02], [height, height], color=style.INK, linewidth=1, zorder=4)
        axes.text(
            x + side * 0.035, height, text, ha="left" if right else "right", va="center",
            fontsize=style.SMALL, color=style.MUTED, zorder=5,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _without_overlaps(ticks: dict[str, float]) -> list[tuple[str, float]]:
    """Return ticks from the top, without those whose labels would overlap the one above."""
    kept: list[tuple[str, float]] = []
    for text, height in sorted(ticks.items(), key=lambda item: -item[1]):
        if all(abs(height - other) > 0.045 for _, other in kept):
            kept.append((text, height))
    return kept

"""Cost against score: what a run takes for what it gives."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import wide
from expkit.report.plots.colors import judged
from expkit.report.runs import Mode, Row, Sweep

__all__ = ["cost_against_score", "front"]

Point = tuple[float, float, Row]


def front(points: list[Point], mode: Mode) -> list[Point]:
    """Return the points that no other beats in score at no more cost, cheapest first."""
    sign = -1 if mode == "max" else 1
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point[0], sign * point[1])):
        if not kept or sign * point[1] < sign * kept[-1][1]:
            kept.append(point)
    return kept


def cost_against_score(sweep: Sweep, title: str) -> Figure | None:
    """Return the objective over seconds of steps, and over parameters where they differ; the front is joined."""
    costs: dict[str, dict[int, float | int | None]] = {
        "seconds of training steps": {id(row): row.seconds for row in sweep.rows},
        "parameters of the network": {id(row): row.size for row in sweep.rows},
    }
    shown = {
        name: found
        for name, found in costs.items()
        if len({found[id(row)] for row in sweep.finished} - {None}) > 1 or (name.startswith("s") and sweep.finished)
    }
    shown = {name: found for name, found in shown.items() if any(found[id(row)] for row in sweep.finished)}
    if not shown:
        return None
    below = f"{judged(sweep)}; joined: what no run beats at no more cost"
    figure, panels = style.panels(len(shown), 2, (3.7, 2.7), title, below)
    for axes, (name, found) in zip(panels, shown.items(), strict=True):
        style.quiet(axes, name, sweep.metric)
        points = [(float(found[id(row)] or 0), sweep.score(row), row) for row in sweep.finished if found[id(row)]]
        _draw(axes, sweep, points)
        others = [float(found[id(row)] or 0) for row in sweep.others if found[id(row)]]
        axes.plot(
            others, [0.0] * len(others), "x", color=style.MUTED, markersize=5, clip_on=False,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
        if wide([cost for cost, _, _ in points] + others):
            axes.set_xscale("log")
        if wide([score for _, score, _ in points]):
            axes.set_yscale("log")
        style.plain_numbers(axes.xaxis)
    return figure


def _draw(axes: Axes, sweep: Sweep, points: list[Point]) -> None:
    best = front(points, sweep.mode)
    axes.plot(
        [cost for cost, _, _ in best], [score for _, score, _ in best], color=style.COLORS[1], linewidth=1.4,
        drawstyle="steps-post", zorder=1,
    )  # fmt: skip
    axes.plot(
        [cost for cost, _, _ in points], [score for _, score, _ in points], "o", color=style.COLORS[0], markersize=5,
        alpha=0.75, markeredgewidth=0, zorder=2,
    )  # fmt: skip
    axes.plot(
        [cost for cost, _, _ in best], [score for _, score, _ in best], "o", color=style.COLORS[1], markersize=6,
        zorder=3,
    )  # fmt: skip
    low, high = min(cost for cost, _, _ in points), max(cost for cost, _, _ in points)
    for cost, score, row in best[-1:]:
        right = cost <= (low + high) / 2
        axes.annotate(
            "\n".join(textwrap.wrap(row.label, 26)[:3]), (cost, score), xytext=(8 if right else -8, -4),
            textcoords="offset points", ha="left" if right else "right", va="top", fontsize=7, color=style.INK,
            zorder=4, bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip

"""Cost against score: the objective of every run over its time or size."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import spans_decades
from expkit.report.plots.colors import caption
from expkit.report.rows import RunRow
from expkit.report.runs import Sweep
from expkit.sweeps.objective import pareto_front

__all__ = ["cost_against_score"]

Point = tuple[float, float, RunRow]
"""Cost, score and run."""


def cost_against_score(sweep: Sweep, title: str) -> Figure | None:
    """Return the objective over seconds of steps, and over parameters if they differ, with the Pareto fronts."""
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
    below = f"{caption(sweep)}; line: no run is better at the same cost or less"
    figure, panels = style.panels(len(shown), 2, (3.7, 2.7), title, below)
    for axes, (name, found) in zip(panels, shown.items(), strict=True):
        style.quiet(axes, name, sweep.metric)
        points = [(float(found[id(row)] or 0), sweep.score(row), row) for row in sweep.finished if found[id(row)]]
        _draw(axes, sweep, points)
        others = [float(found[id(row)] or 0) for row in sweep.unfinished if found[id(row)]]
        axes.plot(
            others, [0.0] * len(others), "x", color=style.MUTED, markersize=5, clip_on=False,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
        if spans_decades([cost for cost, _, _ in points] + others):
            axes.set_xscale("log")
        if spans_decades([score for _, score, _ in points]):
            axes.set_yscale("log")
        style.plain_numbers(axes.xaxis)
    return figure


def _draw(axes: Axes, sweep: Sweep, points: list[Point]) -> None:
    front = pareto_front([(cost, sweep.objective.cost(row.last)) for cost, _, row in points])
    best = [points[index] for index in front]
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

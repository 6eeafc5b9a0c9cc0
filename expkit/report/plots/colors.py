"""Colors of a sweep's runs by rank, shared by its plots."""

from __future__ import annotations

from collections import Counter
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import number_text
from expkit.report.runs import Sweep

__all__ = ["caption", "color_bar", "colors_of"]

COLORS = LinearSegmentedColormap.from_list("ranks", ["#08306b", "#2171b5", "#41b6c4", "#a8ddb5", "#e5d98a", "#f0a860"])
"""From the best to the last; their lightness alone tells them apart."""


def colors_of(sweep: Sweep) -> dict[int, Any]:
    """Return the colors of the finished runs by the identity of their rows; ranks spread them evenly."""
    scale = _scale(sweep)
    return {id(row): scale.to_rgba(rank) for rank, row in enumerate(sweep.finished)}


def color_bar(figure: Figure, axes: Axes, sweep: Sweep) -> None:
    """Draw the color scale beside a panel, labelled with some of the objectives."""
    position, (width, _) = axes.get_position(), figure.get_size_inches()
    beside = figure.add_axes((position.x1 + 0.12 / width, position.y0, 0.12 / width, position.height))
    bar = figure.colorbar(_scale(sweep), cax=beside)
    finished = sweep.finished
    ranks = sorted({round(fraction * (len(finished) - 1)) for fraction in (0, 0.25, 0.5, 0.75, 1)})
    bar.set_ticks(ranks, labels=[number_text(sweep.score(finished[rank])) for rank in ranks])
    bar.set_label(f"{sweep.metric}, by rank", fontsize=style.SMALL, color=style.MUTED)
    bar.ax.tick_params(labelsize=style.SMALL, colors=style.MUTED, length=3)
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)


def _scale(sweep: Sweep) -> Any:
    return matplotlib.cm.ScalarMappable(Normalize(0, max(1, len(sweep.finished) - 1)), COLORS)


def caption(sweep: Sweep) -> str:
    """Return the objective and the number of runs by status, in words."""
    counts = Counter(row.state.status.lower() for row in sweep.rows)
    runs = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{sweep.metric}, {sweep.objective.better} is better; {runs}"

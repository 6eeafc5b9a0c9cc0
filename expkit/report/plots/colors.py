"""What the pictures of a sweep have in common: colours by objective, words."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.axis_scale import number
from expkit.report.runs import Sweep

__all__ = ["color_bar", "colors_of", "counted", "judged"]

COLORS = LinearSegmentedColormap.from_list("places", ["#08306b", "#2171b5", "#41b6c4", "#a8ddb5", "#e5d98a", "#f0a860"])
"""From the best to the last: also told apart by their lightness alone."""


def colors_of(sweep: Sweep) -> dict[int, Any]:
    """Return the colours of the finished runs, by the identity of their rows: by place, so that none stands alone."""
    scale = _scale(sweep)
    return {id(row): scale.to_rgba(place) for place, row in enumerate(sweep.finished)}


def color_bar(figure: Figure, axes: Axes, sweep: Sweep) -> None:
    """Put the colours beside a panel, with some of the objectives that they stand for."""
    place, (width, _) = axes.get_position(), figure.get_size_inches()
    beside = figure.add_axes((place.x1 + 0.12 / width, place.y0, 0.12 / width, place.height))
    bar = figure.colorbar(_scale(sweep), cax=beside)
    finished = sweep.finished
    places = sorted({round(share * (len(finished) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)})
    bar.set_ticks(places, labels=[number(sweep.score(finished[place])) for place in places])
    bar.set_label(f"{sweep.metric}, by place", fontsize=style.SMALL, color=style.MUTED)
    bar.ax.tick_params(labelsize=style.SMALL, colors=style.MUTED, length=3)
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)


def _scale(sweep: Sweep) -> Any:
    return matplotlib.cm.ScalarMappable(Normalize(0, max(1, len(sweep.finished) - 1)), COLORS)


def judged(sweep: Sweep) -> str:
    """Return what runs are judged by, in words."""
    return f"{sweep.metric}, {'larger' if sweep.mode == 'max' else 'smaller'} is better; {counted(sweep)}"


def counted(sweep: Sweep) -> str:
    """Return how many runs there are of each kind of end."""
    counts: dict[str, int] = {}
    for row in sweep.rows:
        counts[row.status.lower()] = counts.get(row.status.lower(), 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items())

"""Importance of a sweep's parameters, as bars."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from expkit.plots import style
from expkit.report.importance import REPEATS, Importance
from expkit.report.runs import Sweep

__all__ = ["importances"]


def importances(sweep: Sweep, found: Importance | None, title: str) -> Figure | None:
    """Return a bar for each parameter, with its standard deviation over permutations."""
    if found is None:
        return None
    keys = list(found.fractions)
    below = (
        f"permutation importance for {sweep.metric} in a random forest on {found.configurations} configurations, which "
        f"explains {found.explained:.0%} of the variance of unseen ones; lines: standard deviation over "
        f"{REPEATS} permutations"
    )
    margins = style.Margins(left=0.35 + 0.085 * max(len(sweep.names[key]) for key in keys), right=0.45)
    figure, (axes,) = style.panels(1, 1, (4.4, 0.34 * len(keys) + 0.2), title, below, margins)
    style.quiet(axes, "fraction of the total importance").grid(axis="y", visible=False)
    positions = range(len(keys))
    axes.barh(positions, list(found.fractions.values()), height=0.6, color=style.COLORS[0])
    axes.errorbar(
        list(found.fractions.values()),
        positions,
        xerr=list(found.deviations.values()),
        fmt="none",
        ecolor=style.INK,
        elinewidth=1,
    )
    axes.set_yticks(positions, [sweep.names[key] for key in keys])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    return figure

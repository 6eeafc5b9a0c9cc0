"""Histograms of variables."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.data import Histogram

__all__ = ["weight_histograms"]

COLUMNS = 4
LONGEST_NAME = 30


def weight_histograms(histograms: Mapping[str, Histogram], title: str, caption: str) -> Figure | None:
    """Return a histogram of every variable, raw filled and EMA as a dashed line."""
    if not histograms:
        return None
    margins = style.Margins(left=0.14, right=0.14, top=0.3, bottom=0.3)
    figure, every = style.panels(len(histograms), COLUMNS, (2.1, 1.1), title, caption, margins)
    for index, (name, item) in enumerate(histograms.items()):
        axes = style.quiet(every[index])
        shown = name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
        axes.set_title(shown, fontsize=style.SMALL, color=style.INK, loc="left")
        for weights, counts in item.counts.items():
            if not counts.any():
                continue
            density = counts / counts.sum()
            if weights == "raw":
                axes.stairs(density, item.edges, fill=True, color=style.COLORS[5], alpha=0.6, label="raw")
            else:
                axes.stairs(density, item.edges, color=style.COLORS[1], linestyle="--", linewidth=1, label="EMA")
        if not any(counts.any() for counts in item.counts.values()):
            axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", fontsize=style.SMALL)
            axes.set_xticks([])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4)
        style.plain_numbers(axes.xaxis)
        axes.axvline(0, color=style.MUTED, linewidth=0.6)
        if index == 0 and len(item.counts) > 1:
            axes.legend(fontsize=6.5, frameon=False, labelcolor=style.INK, loc="upper right")
    return figure

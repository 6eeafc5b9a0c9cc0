"""Training loss over a rising learning rate."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.training.rate_finder import RateCurve

__all__ = ["rate_curve"]


def rate_curve(curve: RateCurve, title: str) -> Figure:
    """Return the loss of every step and its average over the learning rate, with the suggested rate."""
    figure, (axes,) = style.panels(1, 1, (5.0, 2.8), title, "steps, and their moving average")
    style.quiet(axes, "learning rate", "train loss")
    axes.set_xscale("log")
    axes.plot(curve.rates, curve.losses, color=style.BAD, linewidth=0.8, label="step")
    axes.plot(curve.rates, curve.smoothed, color=style.COLORS[0], linewidth=1.6, label="average")
    low, high = float(curve.smoothed.min()), float(np.quantile(curve.smoothed, 0.95))
    margin = 0.15 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + 2 * margin)
    if (rate := curve.suggestion) is not None:
        axes.axvline(rate, color=style.COLORS[1], linewidth=1.2, linestyle="--", label=f"suggestion {rate:.2g}")
    axes.legend(fontsize=style.SMALL, frameon=False, labelcolor=style.INK)
    return figure

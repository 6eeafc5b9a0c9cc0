"""The worst mistakes, as the images that the network saw."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.data import Head

__all__ = ["picture_of", "worst_mistakes"]

COLUMNS = 8
SIDE, TEXT, SPACE = 0.95, 0.3, 0.12
"""Inches: an image's height, that of the words over it, and between images."""
GAP = 0.06
"""Between the images of one example, as a share of their width."""


def worst_mistakes(head: Head, title: str, below: str) -> Figure | None:
    """Return the mistakes whose true class was least likely, worst first; ``None`` where no input is an image."""
    if not head.images or not len(head.worst):
        return None
    count, beside = len(head.worst), len(head.images)
    pictures = [
        np.concatenate(_spaced([picture_of(images, place) for images in head.images.values()]), axis=1)
        for place in range(count)
    ]
    columns = max(2, COLUMNS // beside)
    rows = math.ceil(count / columns)
    wide, high = SIDE * pictures[0].shape[1] / len(pictures[0]), SIDE + TEXT
    margins = style.Margins(left=0.1, right=0.0, top=0.06, bottom=0.06)
    size = (columns * (wide + SPACE), rows * (high + SPACE))
    figure, (axes,) = style.panels(1, 1, size, title, below, margins)
    for place, (index, truth, taken) in enumerate(head.worst.tolist()):
        row, column = divmod(place, columns)
        left, top = column * (wide + SPACE), row * (high + SPACE)
        extent = (left, left + wide, top + high, top + TEXT)
        axes.imshow(pictures[place], interpolation="nearest", extent=extent)
        axes.text(
            left, top + TEXT - 0.03, f"{truth} taken for {taken}\n{head.certainty[place]:.0%}, no. {index}",
            fontsize=7, color=style.COLORS[1] if taken != truth else style.INK, va="bottom",
        )  # fmt: skip
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))  # one for all: axes of its own for every image take 20 ms each
    axes.set_axis_off()
    return figure


def picture_of(images: np.ndarray, place: int) -> np.ndarray:
    """Return one of images [examples, height, width, channels] as [height, width, 3] between 0 and 1.

    Bytes are divided by 255; other numbers are stretched from the least to the largest of all the images.
    """
    if images.dtype == np.uint8:
        picture = images[place] / 255
    else:
        low, high = float(images.min()), float(images.max())
        picture = (images[place] - low) / ((high - low) or 1)
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[:, :, :3]


def _spaced(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Return pictures of one height with white between them."""
    height = max(len(picture) for picture in pictures)
    even = [np.pad(p, ((0, height - len(p)), (0, 0), (0, 0)), constant_values=1) for p in pictures]
    gap = np.ones((height, max(1, round(GAP * even[0].shape[1])), 3))
    return [part for picture in even for part in (gap, picture)][1:]

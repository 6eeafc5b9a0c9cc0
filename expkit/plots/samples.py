"""A grid of the images that a network draws at a checkpoint."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.misclassified import image_of

__all__ = ["image_grid"]

SIDE, SPACE = 0.5, 0.05
"""Inches: height of an image, distance between images."""
SMALL = 16
"""Height in pixels up to which images are smoothed."""


def image_grid(images: np.ndarray, title: str, caption: str) -> Figure:
    """Return a grid of images [examples, height, width, channels], about as wide as high, in their order."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    height, width = images.shape[1:3]
    wide = SIDE * width / height
    size = (columns * (wide + SPACE), rows * (SIDE + SPACE))
    margins = style.Margins(left=0.1, right=0.05, top=0.06, bottom=0.05)
    figure, (axes,) = style.panels(1, 1, size, title, caption, margins)
    for index in range(len(images)):
        row, column = divmod(index, columns)
        left, top = column * (wide + SPACE), row * (SIDE + SPACE)
        interpolation = "bicubic" if height <= SMALL else "nearest"
        extent = (left, left + wide, top + SIDE, top)
        axes.imshow(image_of(images, index).clip(0, 1), interpolation=interpolation, extent=extent)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))  # shared, because axes for every image would take 20 ms each
    axes.set_axis_off()
    return figure

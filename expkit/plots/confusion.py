"""Confusion matrices: which class was taken for which."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from expkit.plots import style
from expkit.plots.data import Head

__all__ = ["confusion_matrix", "matrix_of"]

MOST_CLASSES = 40
"""How many classes are shown: of more, those most often confused."""
MOST_NUMBERED = 20
"""Up to how many classes the cells hold their numbers."""


def matrix_of(head: Head) -> tuple[list[int], np.ndarray]:
    """Return the classes shown, and how often each (row) was taken for each (column)."""
    classes = list(range(head.classes))
    if head.classes > MOST_CLASSES:
        apart = head.pairs[head.pairs[:, 0] != head.pairs[:, 1]]
        confused = np.bincount(apart[:, 0], apart[:, 2], head.classes) + np.bincount(
            apart[:, 1], apart[:, 2], head.classes
        )
        classes = sorted(np.argsort(-confused, kind="stable")[:MOST_CLASSES].tolist())
    place = {name: number for number, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    for truth, taken, often in head.pairs.tolist():
        if truth in place and taken in place:
            matrix[place[truth], place[taken]] = often
    return classes, matrix


def confusion_matrix(head: Head, title: str, below: str) -> Figure:
    """Return the matrix: rows sum to a class's examples, colour is the share of its row, errors stand out."""
    classes, matrix = matrix_of(head)
    count = len(classes)
    if count < head.classes:
        below = f"{below}; the {count} of {head.classes} classes most often confused"
    side = min(8.0, max(3.0, 0.4 * count))
    figure, (axes,) = style.panels(1, 1, (side, side), title, f"{below}; darker: a larger share of the true class")
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    style.quiet(axes, "predicted class", "true class").grid(False)
    axes.spines[:].set_visible(False)
    every = max(1, count // 20)
    axes.set_xticks(range(0, count, every), [str(name) for name in classes[::every]])
    axes.set_yticks(range(0, count, every), [str(name) for name in classes[::every]])
    if count <= MOST_NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            color = "white" if shares[row, column] > 0.4 else style.INK
            axes.text(
                column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=color, fontsize=style.SMALL
            )
    return figure

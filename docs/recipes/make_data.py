"""Write the data of recipes that no package brings: images with boxes, graphs, lines of digits, triplets, masked words.

Usage: python docs/recipes/make_data.py FOLDER
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def shapes(count: int = 2000) -> Arrays:
    """Return images of one square or cross each, and for 20 anchors a class (0: none), a box, its weight."""
    draw = np.random.default_rng(0)
    image = draw.normal(0, 0.1, (count, 16, 16, 1)).astype(np.float32)
    label, box = np.zeros((count, 20), np.int64), np.zeros((count, 20, 4), np.float32)
    for index in range(count):
        kind, large = draw.integers(1, 3), draw.integers(2)
        size = 7 if large else 4
        top, left = draw.integers(0, 16 - size, 2)
        if kind == 1:
            image[index, top : top + size, left : left + size] += 1
        else:
            image[index, top + size // 2, left : left + size] += 1
            image[index, top : top + size, left + size // 2] += 1
        cell = 8 if large else 4
        row, column = (top + size // 2) // cell, (left + size // 2) // cell
        anchor = 16 + row * 2 + column if large else row * 4 + column
        label[index, anchor] = kind
        box[index, anchor] = np.array([top, left, top + size, left + size]) / 16 - np.tile([row, column], 2) * cell / 16
    return {"image": image, "label": label, "box": box, "there": (label > 0).astype(np.float32)}


def graphs(count: int = 1500, nodes: int = 12) -> Arrays:
    """Return graphs: features of nodes, the normalized matrix of neighbours, and the kind (ring, star, line)."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(count, nodes, 4)).astype(np.float32)
    edges, label = np.zeros((count, nodes, nodes), np.float32), draw.integers(0, 3, count)
    for index, kind in enumerate(label):
        order = draw.permutation(nodes)
        pairs = {
            0: zip(order, np.roll(order, 1), strict=True),
            1: ((order[0], other) for other in order[1:]),
            2: pairwise(order),
        }[int(kind)]
        matrix = np.eye(nodes)
        for one, other in pairs:
            matrix[one, other] = matrix[other, one] = 1
        degree = matrix.sum(axis=1)
        features[index, :, 0] = degree
        edges[index] = matrix / np.sqrt(degree[:, None] * degree)
    return {"nodes": features, "edges": edges, "label": label}


def lines(count: int = 4000, most: int = 5) -> Arrays:
    """Return lines of 1 to 5 handwritten digits as frames of 8 pixels, their digits, and the numbers of both."""
    from sklearn.datasets import load_digits

    digits, draw = load_digits(), np.random.default_rng(0)
    image, label = np.zeros((count, 8 * most, 8), np.float32), np.zeros((count, most), np.int64)
    length = draw.integers(1, most + 1, count).astype(np.int32)
    for index, number in enumerate(length):
        # The last fifth of the lines have the last digits, which no other line has: other hands.
        first, last = (0, 1400) if index < count * 0.8 else (1400, 1797)
        for place, chosen in enumerate(draw.integers(first, last, number)):
            image[index, 8 * place : 8 * place + 8] = digits.images[chosen].T / 16
            label[index, place] = digits.target[chosen]
    return {"image": image, "frames": 8 * length, "label": label, "length": length}


def triplets(count: int = 4000) -> Arrays:
    """Return handwritten digits, each with another image of the same digit and one of another."""
    from sklearn.datasets import load_digits

    digits, draw = load_digits(), np.random.default_rng(0)
    images, kinds = (digits.data / 16).astype(np.float32), digits.target
    anchor = draw.integers(0, len(images), count)
    chosen: dict[str, list[int]] = {"same": [], "other": []}
    for kind in kinds[anchor]:
        chosen["same"].append(int(draw.choice(np.flatnonzero(kinds == kind))))
        chosen["other"].append(int(draw.choice(np.flatnonzero(kinds != kind))))
    return {"image": images[anchor], **{name: images[numbers] for name, numbers in chosen.items()}}


def words(count: int = 4000, length: int = 16, masked: int = 3, vocabulary: int = 64) -> Arrays:
    """Return pairs of halves of sentences whose words follow a rule, and 1 to 3 masked words: places and words, or -1.

    ``next`` is 1 where the second half is of another sentence.
    """
    draw = np.random.default_rng(0)
    start, step = draw.integers(0, vocabulary - 4, (2, count, 1))
    ids = (4 + (start + np.arange(length) * (1 + step % 5)) % (vocabulary - 4)).astype(np.int32)
    other = draw.integers(0, 2, count)
    ids[other == 1, length // 2 :] = np.roll(ids, 1, axis=0)[other == 1, length // 2 :]
    places = np.argsort(draw.random((count, length)), axis=1)[:, :masked].astype(np.int32)
    label = np.take_along_axis(ids, places, axis=1).astype(np.int64)
    used = np.arange(masked) < draw.integers(1, masked + 1, (count, 1))
    masked_ids = np.where(used, 3, label).astype(np.int32)
    np.put_along_axis(ids, places, masked_ids, axis=1)
    return {
        "input_ids": ids,
        "input_mask": np.ones_like(ids),
        "token_type_ids": np.broadcast_to(np.arange(length) >= length // 2, ids.shape).astype(np.int32),
        "masked_lm_positions": places,
        "label": np.where(used, label, -1),
        "next": other,
    }


DATA = {"shapes": shapes, "graphs": graphs, "lines": lines, "triplets": triplets, "words": words}


def main() -> None:
    """Write all files."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in DATA.items():
        np.savez_compressed(folder / f"{name}.npz", **make())


if __name__ == "__main__":
    main()

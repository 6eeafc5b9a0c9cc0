"""Optimal alignment of two label paths, by the scores of label pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["align"]

Path = tuple[str, ...]


def align(
    one: Path,
    other: Path,
    pair_score: Callable[[str, str], float],
    old_weights: Mapping[str, float],
    new_weights: Mapping[str, float],
) -> tuple[tuple[int, int], ...]:
    """Return the indices of aligned labels with the highest sum of scores; a skipped label costs half of its weight.

    Equal labels at both ends are aligned with each other.
    """
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    rows, columns = len(one) - start - end, len(other) - start - end
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    step = [[""] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows + 1):
        for j in range(columns + 1):
            choices = []
            if i and j:
                choices.append((best[i - 1][j - 1] + pair_score(one[start + i - 1], other[start + j - 1]), "both"))
            if i:
                choices.append((best[i - 1][j] - 0.5 * old_weights[one[start + i - 1]], "old"))
            if j:
                choices.append((best[i][j - 1] - 0.5 * new_weights[other[start + j - 1]], "new"))
            if choices:
                best[i][j], step[i][j] = max(choices, key=lambda choice: choice[0])
    pairs = []
    i, j = rows, columns
    while i or j:
        last = step[i][j]
        i, j = i - (last != "new"), j - (last != "old")
        if last == "both":
            pairs.append((start + i, start + j))
    same_end = ((len(one) - i, len(other) - i) for i in range(end, 0, -1))
    return (*((i, i) for i in range(start)), *reversed(pairs), *same_end)

"""Offsets between the numbers in old and new layer names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expkit.checkpoints.matching.layer_names import LayerNames

__all__ = ["Numbering", "aligned_numbers", "numbering", "same_numbers"]


@dataclass(frozen=True)
class Numbering:
    """Offset between the numbers of two label paths."""

    offset: tuple[int, ...] | None
    """Added to the old numbers; ``None`` if several offsets are possible."""
    kinds: int
    """Number of different layer signatures that it explains; 0 if some layers remain."""


def numbering(
    olds: Sequence[LayerNames],
    news: Sequence[LayerNames],
    pairs: Sequence[tuple[int, int]],
    overlap: Callable[[LayerNames, LayerNames], float],
    has_candidate: Callable[[LayerNames], bool],
) -> Numbering:
    """Return the offset that turns the numbers of old layers into those of new ones.

    Args:
        olds: layers of one label path.
        news: layers of the other label path.
        pairs: indices of aligned labels.
        overlap: fraction of the variables that two layers have in common.
        has_candidate: true for a new layer that an old layer of an otherwise unknown name could be.
    """
    by_old = {aligned_numbers(layer, pairs, news[0])[0]: layer for layer in olds}
    by_new = {aligned_numbers(olds[0], pairs, layer)[1]: layer for layer in news}
    if len(by_old) < len(olds) or len(by_new) < len(news):
        return Numbering(None, 0)
    hits: Counter[tuple[int, ...]] = Counter()
    clashes: Counter[tuple[int, ...]] = Counter()
    for a, layer in by_old.items():
        for b, other in by_new.items():
            offset = tuple(y - x for x, y in zip(a, b, strict=True))
            (hits if overlap(layer, other) else clashes)[offset] += 1
    if not hits:
        return Numbering(None, 0)
    kinds = len({layer.signature for layer in olds})
    zero = tuple(0 for _ in next(iter(by_old)))
    complete = [offset for offset, count in hits.items() if count == len(by_old) == len(by_new)]
    if complete and (complete[0] == zero or kinds > 1 or len(by_old) > 2):
        return Numbering(complete[0], kinds if len(by_old) > 1 else 0)
    clear = [offset for offset in hits if not clashes[offset]]
    others = max((hits[offset] - clashes[offset] for offset in hits if offset != zero), default=0)
    same = min(by_old) == min(by_new) and hits[zero] - clashes[zero] >= max(others, 1)
    if same and not any(has_candidate(layer) for number, layer in by_new.items() if number not in by_old):
        return Numbering(zero, 0)
    if len(clear) == 1 and hits[clear[0]] > 1 and hits[clear[0]] == max(hits.values()):
        reached = (
            layer for a, layer in by_old.items() if tuple(x + d for x, d in zip(a, clear[0], strict=True)) in by_new
        )
        if len({layer.signature for layer in reached}) > 1:
            return Numbering(clear[0], 0)
    return Numbering(None, 0)


def aligned_numbers(
    one: LayerNames, pairs: Sequence[tuple[int, int]], other: LayerNames
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of both layers in the aligned labels with equal counts of numbers."""
    a: tuple[int, ...] = ()
    b: tuple[int, ...] = ()
    for i, j in pairs:
        if len(one.numbers[i]) == len(other.numbers[j]):
            a, b = a + one.numbers[i], b + other.numbers[j]
    return a, b


def same_numbers(one: LayerNames, start: int, other: LayerNames, other_start: int, found: Numbering) -> bool:
    """Return True if the numbers in the rests of two paths are equal after adding the offset."""
    a = [number for numbers in one.numbers[start:] for number in numbers]
    b = [number for numbers in other.numbers[other_start:] for number in numbers]
    if not a or len(a) != len(b):
        return len(a) == len(b)
    offset = found.offset
    offset = offset[-len(a) :] if offset and len(offset) >= len(a) else (0,) * len(a)
    return [x + d for x, d in zip(a, offset, strict=True)] == b

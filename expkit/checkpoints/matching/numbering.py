"""What the numbers in layers' names say: by how much those of one side differ from those of the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expkit.checkpoints.matching.layer_names import Layer

__all__ = ["Numbering", "level", "numbering", "projected"]


@dataclass(frozen=True)
class Numbering:
    """How the numbers of two kinds of layers fit."""

    offset: tuple[int, ...] | None
    """What is added to the old numbers; ``None`` where several would do."""
    kinds: int
    """How many layers of different shapes it explains; 0 where it leaves some over."""


def numbering(
    olds: Sequence[Layer],
    news: Sequence[Layer],
    pairs: Sequence[tuple[int, int]],
    overlap: Callable[[Layer, Layer], float],
    claimed: Callable[[Layer], bool],
) -> Numbering:
    """Return what must be added to the numbers of the old layers, which differ in nothing else.

    Args:
        olds: layers of one label path.
        news: layers of the other label path.
        pairs: places of the labels that stand side by side.
        overlap: how much two layers have in common.
        claimed: whether an old layer that is named like no new one could be this new one.
    """
    here = {projected(layer, pairs, news[0])[0]: layer for layer in olds}
    there = {projected(olds[0], pairs, layer)[1]: layer for layer in news}
    if len(here) < len(olds) or len(there) < len(news):
        return Numbering(None, 0)
    hits: Counter[tuple[int, ...]] = Counter()
    clashes: Counter[tuple[int, ...]] = Counter()
    for a, layer in here.items():
        for b, its in there.items():
            offset = tuple(y - x for x, y in zip(a, b, strict=True))
            (hits if overlap(layer, its) else clashes)[offset] += 1
    if not hits:
        return Numbering(None, 0)
    kinds = len({layer.signature for layer in olds})
    none = tuple(0 for _ in next(iter(here)))
    whole = [offset for offset, count in hits.items() if count == len(here) == len(there)]
    if whole and (whole[0] == none or kinds > 1 or len(here) > 2):
        return Numbering(whole[0], kinds if len(here) > 1 else 0)
    clear = [offset for offset in hits if not clashes[offset]]
    others = max((hits[offset] - clashes[offset] for offset in hits if offset != none), default=0)
    same = min(here) == min(there) and hits[none] - clashes[none] >= max(others, 1)
    if same and not any(claimed(layer) for number, layer in there.items() if number not in here):
        return Numbering(none, 0)
    if len(clear) == 1 and hits[clear[0]] > 1 and hits[clear[0]] == max(hits.values()):
        reached = (
            layer for a, layer in here.items() if tuple(x + d for x, d in zip(a, clear[0], strict=True)) in there
        )
        if len({layer.signature for layer in reached}) > 1:
            return Numbering(clear[0], 0)
    return Numbering(None, 0)


def projected(one: Layer, pairs: Sequence[tuple[int, int]], other: Layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of both layers in the parts that stand side by side and have as many."""
    a: tuple[int, ...] = ()
    b: tuple[int, ...] = ()
    for i, j in pairs:
        if len(one.numbers[i]) == len(other.numbers[j]):
            a, b = a + one.numbers[i], b + other.numbers[j]
    return a, b


def level(one: Layer, start: int, other: Layer, its_start: int, counted: Numbering) -> bool:
    """Return whether the numbers in the rest of two paths are the same but for what their like differ by."""
    a = [number for numbers in one.numbers[start:] for number in numbers]
    b = [number for numbers in other.numbers[its_start:] for number in numbers]
    if not a or len(a) != len(b):
        return len(a) == len(b)
    offset = counted.offset
    offset = offset[-len(a) :] if offset and len(offset) >= len(a) else (0,) * len(a)
    return [x + d for x, d in zip(a, offset, strict=True)] == b

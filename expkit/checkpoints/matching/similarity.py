"""How well the name of one layer fits the name of another: words, numbers, and where they stand."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from expkit.checkpoints.matching.layer_names import Layer, Made, bare, by_labels, by_scope, likeness, weights_of
from expkit.checkpoints.matching.numbering import Numbering, level, numbering, projected

__all__ = ["Alignment", "Fit", "Sides"]

Vote = TypeVar("Vote")

_ALIKE = 0.7
_LEARNED = 0.95
_DOUBT = 0.1
"""What share of two scopes' layers may differ in shape under one name."""
_SMALL = 0.2
_STEP = 0.02
"""What an aligned pair is worth even where its words tell nothing, so that the same words meet."""


@dataclass(frozen=True)
class Alignment:
    """Two label paths laid side by side."""

    score: float
    """What matched, less half of what did not; each label counts as much as it tells layers apart."""
    share: float
    """What matched, of all there is."""
    matched: float
    pairs: tuple[tuple[int, int], ...]
    """Places of the labels that stand side by side, whether alike or not."""


@dataclass(frozen=True)
class Fit:
    """How well one layer fits another; ``score`` compares, the rest says what speaks for it."""

    score: float
    numbers: int
    """1: the numbering says that they are one; -1: that they are not; 0: it says nothing."""
    inside: int
    """1: they stand in scopes that are one; -1: in scopes that are not; 0: not known."""
    known: bool
    """Whether enough speaks for it besides the shapes."""


class Sides:
    """The layers of both sides, and what is known of how the names of one became those of the other."""

    def __init__(self, old: Sequence[Layer], new: Sequence[Layer]) -> None:
        self._old, self._new = weights_of(old), weights_of(new)
        self._olds, self._news = by_labels(old), by_labels(new)
        self._homeless = [layer for layer in old if layer.labels not in self._news]
        self._words: dict[str, Counter[str]] = defaultdict(Counter)
        self._scopes: dict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._origins: dict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._learned: dict[str, str] = {}
        self._alignments: dict[tuple[tuple[str, ...], tuple[str, ...]], Alignment] = {}
        self._numberings: dict[tuple[tuple[str, ...], tuple[str, ...]], Numbering] = {}
        self._overlaps: dict[tuple[frozenset[tuple[str, Made]], frozenset[tuple[str, Made]]], float] = {}
        self._agreements: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[int, int]] = {}
        self._in_old, self._in_new = by_scope(old), by_scope(new)
        makes = {layer.signature: layer for layer in (*old, *new)}
        olds, news = ({layer.signature for layer in layers} for layers in (old, new))
        self._best_old = {a: max((self.overlap(makes[a], makes[b]) for b in news), default=0.0) for a in olds}
        self._best_new = {b: max((self.overlap(makes[a], makes[b]) for a in olds), default=0.0) for b in news}

    def overlap(self, one: Layer, other: Layer) -> float:
        """Return the share of variables that both layers have, of one make; 0 where one differs."""
        key = (one.signature, other.signature)
        if key not in self._overlaps:
            common = [role for role in one.made if role in other.made]
            same = all(one.made[role] == other.made[role] for role in common)
            self._overlaps[key] = len(common) / len({*one.made, *other.made}) if same else 0.0
        return self._overlaps[key]

    def better(self, one: Layer, other: Layer) -> bool:
        """Return whether both layers have more in common with another."""
        overlap = self.overlap(one, other)
        return overlap < self._best_old[one.signature] and overlap < self._best_new[other.signature]

    def learn(self, pairs: Sequence[tuple[Layer, Layer]]) -> None:
        """Take pairs as certain: their words and scopes speak for others."""
        for one, other in pairs:
            for i, j in self.align(one.labels, other.labels).pairs:
                self._words[one.labels[i]][other.labels[j]] += 1
                before, after = one.path[: i + 1], other.path[: j + 1]
                self._scopes[before][after] += 1
                self._origins[after][before] += 1
        learned = {word: top for word, votes in self._words.items() if (top := _top(votes)) and sum(votes.values()) > 1}
        if learned != self._learned:
            self._learned = learned
            self._alignments.clear()
            self._numberings.clear()
            self._agreements.clear()

    def settled(self, one: Layer, other: Layer) -> bool:
        """Return whether two layers of one name are one: neither the numbers nor the shapes of others deny it."""
        counted = self._numbering(one.labels, other.labels)
        return counted.offset is not None and not any(counted.offset) and self.holds(one, other)

    def holds(self, one: Layer, other: Layer, *, swapped: bool = False) -> bool:
        """Return whether the scopes that would become one hold the same, as far as their names tell.

        Where words were replaced, put in or left out that no certain pair explains, at least two layers must agree. A
        word that both sides have is not replaced by another, but where two are known to have been ``swapped``.
        """
        if self.better(one, other):
            return False
        alignment = self.align(one.labels, other.labels)
        agreed, above = 0, (-1, -1)
        for i, j in alignment.pairs:
            before, after = one.path[: i + 1], other.path[: j + 1]
            same, different = self._agreement(before, after)
            joined = self._joined(before, after)
            if different > _DOUBT * (same + different) and not joined:
                return False
            unlike = self._alike(one.labels[i], other.labels[j]) < _ALIKE
            if unlike and not joined and not swapped and self._kept(one.labels[i], other.labels[j]):
                return False
            if unlike or not same or (i, j) != (above[0] + 1, above[1] + 1):
                agreed = 0
            agreed = max(agreed, 2 if joined else same)
            above = (i, j)
        return agreed > 1 or not self._replaced(one.labels, other.labels, alignment)

    def fit(self, one: Layer, other: Layer) -> Fit:
        """Return how well a layer of the old side fits one of the new."""
        alignment = self.align(one.labels, other.labels)
        counted = self._numbering(one.labels, other.labels)
        a, b = projected(one, alignment.pairs, other)
        if counted.offset is None:
            numbers = 0
        else:
            numbers = 1 if tuple(x + d for x, d in zip(a, counted.offset, strict=True)) == b else -1
        inside = self._inside(one, other)
        parents = inside > 0 and self._joined(one.path[:-1], other.path[:-1])
        ends = bool(one.path and other.path) and self._alike(one.labels[-1], other.labels[-1]) >= _ALIKE
        ends = ends or not any(self._alike(one.labels[i], other.labels[j]) < _ALIKE for i, j in alignment.pairs)
        words = alignment.matched >= 0.5 and alignment.share >= 0.5
        known = (ends and (words or parents)) or (numbers > 0 and counted.kinds > 1)
        score = alignment.score + numbers + inside + 0.3 * self.overlap(one, other)
        return Fit(score, numbers, inside, known)

    def align(self, one: tuple[str, ...], other: tuple[str, ...]) -> Alignment:
        """Lay two label paths side by side."""
        key = (one, other)
        if key not in self._alignments:
            self._alignments[key] = self._aligned(one, other)
        return self._alignments[key]

    def _alike(self, one: str, other: str) -> float:
        return max(likeness(one, other), _LEARNED if self._learned.get(one) == other else 0.0)

    def _aligned(self, one: tuple[str, ...], other: tuple[str, ...]) -> Alignment:
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
                ways = []
                if i and j:
                    ways.append((best[i - 1][j - 1] + self._worth(one[start + i - 1], other[start + j - 1]), "both"))
                if i:
                    ways.append((best[i - 1][j] - 0.5 * self._old[one[start + i - 1]], "old"))
                if j:
                    ways.append((best[i][j - 1] - 0.5 * self._new[other[start + j - 1]], "new"))
                if ways:
                    best[i][j], step[i][j] = max(ways, key=lambda way: way[0])
        pairs = []
        i, j = rows, columns
        while i or j:
            way = step[i][j]
            i, j = i - (way != "new"), j - (way != "old")
            if way == "both":
                pairs.append((start + i, start + j))
        places = [
            *((i, i) for i in range(start)),
            *reversed(pairs),
            *((len(one) - i, len(other) - i) for i in range(end, 0, -1)),
        ]
        matched = sum((self._old[one[i]] + self._new[other[j]]) / 2 * self._alike(one[i], other[j]) for i, j in places)
        total = max(sum(self._old[label] for label in one), sum(self._new[label] for label in other))
        lost = sum(self._old[label] for label in one) + sum(self._new[label] for label in other) - 2 * matched
        lost += sum(self._kept(one[i], other[j]) for i, j in places if self._alike(one[i], other[j]) < _ALIKE)
        return Alignment(matched - 0.25 * lost, matched / total if total else 0.0, matched, tuple(places))

    def _worth(self, one: str, other: str) -> float:
        alike, a, b = self._alike(one, other), self._old[one], self._new[other]
        return alike * ((a + b) / 2 + _STEP) - 0.5 * (1 - alike) * (a + b) + _STEP / 2

    def _kept(self, one: str, other: str) -> bool:
        """Return whether a word that would be replaced, or take its place, is on both sides."""
        return one in self._new or other in self._old

    def _numbering(self, one: tuple[str, ...], other: tuple[str, ...]) -> Numbering:
        key = (one, other)
        if key not in self._numberings:
            self._numberings[key] = numbering(
                self._olds[one], self._news[other], self.align(one, other).pairs, self.overlap, self._claimed
            )
        return self._numberings[key]

    def _replaced(self, one: tuple[str, ...], other: tuple[str, ...], alignment: Alignment) -> bool:
        """Return whether labels that tell layers apart have no like on the other side."""
        like = [(i, j) for i, j in alignment.pairs if self._alike(one[i], other[j]) >= _ALIKE]
        return any(
            weights[label] >= _SMALL
            for labels, weights, met in (
                (one, self._old, {i for i, _ in like}),
                (other, self._new, {j for _, j in like}),
            )
            for place, label in enumerate(labels)
            if place not in met
        )

    def _agreement(self, before: tuple[str, ...], after: tuple[str, ...]) -> tuple[int, int]:
        """Return how many layers of two scopes have the same name there and the same shapes, and other shapes.

        Other shapes count only where both layers fit another one: a layer that changed says nothing of the rest. Layers
        that both scopes have alone, under words that the other side has elsewhere, count as different too.
        """
        key = (before, after)
        if key not in self._agreements:
            there: dict[tuple[str, ...], list[Layer]] = {}
            for layer in self._in_new.get(after, ()):
                there.setdefault(tuple(map(bare, layer.labels[len(after) :])), []).append(layer)
            same = different = alone = 0
            met: set[Layer] = set()
            for layer in self._in_old.get(before, ()):
                words = [self._learned.get(label, label) for label in layer.labels[len(before) :]]
                its = next(
                    (
                        its
                        for its in there.get(tuple(map(bare, words)), ())
                        if its not in met
                        and level(layer, len(before), its, len(after), self._numbering(layer.labels, its.labels))
                    ),
                    None,
                )
                if its is None:
                    alone += all(word in self._new for word in words)
                    continue
                met.add(its)
                better = self.better(layer, its)
                same += not better and self.overlap(layer, its) > 0
                different += better
            others = sum(
                layer not in met and all(label in self._old for label in layer.labels[len(after) :])
                for layer in self._in_new.get(after, ())
            )
            different += min(alone, others)
            self._agreements[key] = same, different
        return self._agreements[key]

    def _claimed(self, layer: Layer) -> bool:
        """Return whether an old layer that none of the new ones is named like could be this one."""
        return any(self.overlap(its, layer) > 0 for its in self._homeless)

    def _inside(self, one: Layer, other: Layer) -> int:
        says = {_says(self._scopes, one.path, other.path), _says(self._origins, other.path, one.path)}
        return -1 if -1 in says else max(says)

    def _joined(self, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        return bool(before and after) and _top(self._scopes.get(before, Counter())) == after


def _says(
    votes: Mapping[tuple[str, ...], Counter[tuple[str, ...]]], path: tuple[str, ...], its: tuple[str, ...]
) -> int:
    """Return whether the deepest known scope of one path holds the other (1), does not (-1), or none is known (0)."""
    for count in range(len(path), 0, -1):
        if path[:count] in votes:
            top = _top(votes[path[:count]])
            return 0 if top is None else 1 if its[: len(top)] == top else -1
    return 0


def _top(votes: Counter[Vote]) -> Vote | None:
    """Return what at least four of five voted for."""
    if not votes:
        return None
    (top, count), *_ = votes.most_common(1)
    return top if count * 5 >= sum(votes.values()) * 4 else None

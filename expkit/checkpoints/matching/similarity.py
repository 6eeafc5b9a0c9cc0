"""Similarity of old and new layer names, by words, numbers and scopes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from expkit.checkpoints.matching.alignment import align
from expkit.checkpoints.matching.layer_names import (
    LayerNames,
    by_labels,
    by_scope,
    label_weights,
    letters,
    word_similarity,
)
from expkit.checkpoints.matching.numbering import Numbering, aligned_numbers, numbering, same_numbers
from expkit.tensor_spec import TensorSpec

__all__ = ["Alignment", "Score", "Similarity"]

Vote = TypeVar("Vote")

_SIMILAR = 0.7
_LEARNED = 0.95
_DOUBT = 0.1
"""Fraction of two scopes' layers that may differ in shape under one name."""
_SMALL = 0.2
_STEP = 0.02
"""Score of an aligned pair whose words have no weight, so that equal words are aligned."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Alignment of two label paths."""

    score: float
    """Weight of matched labels, minus half of the weight of the others."""
    fraction: float
    """Weight of matched labels, as a fraction of all."""
    matched: float
    pairs: tuple[tuple[int, int], ...]
    """Indices of the aligned labels, similar or not."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Score of a pair of layers, with the evidence for it."""

    total: float
    numbers: int
    """1: the numbers fit; -1: they do not; 0: no evidence."""
    scopes: int
    """1: their scopes are the same; -1: they are not; 0: no evidence."""
    known: bool
    """True if there is enough evidence besides the shapes."""


class Similarity:
    """Evidence from old and new layers of how the names of one side became those of the other."""

    def __init__(self, old: Sequence[LayerNames], new: Sequence[LayerNames]) -> None:
        self._old, self._new = label_weights(old), label_weights(new)
        self._olds, self._news = by_labels(old), by_labels(new)
        self._without_label_path = [layer for layer in old if layer.labels not in self._news]
        self._words: dict[str, Counter[str]] = defaultdict(Counter)
        self._scopes: dict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._origins: dict[tuple[str, ...], Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._learned: dict[str, str] = {}
        self._alignments: dict[tuple[tuple[str, ...], tuple[str, ...]], Alignment] = {}
        self._numberings: dict[tuple[tuple[str, ...], tuple[str, ...]], Numbering] = {}
        self._overlaps: dict[tuple[frozenset[tuple[str, TensorSpec]], frozenset[tuple[str, TensorSpec]]], float] = {}
        self._agreements: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[int, int]] = {}
        self._in_old, self._in_new = by_scope(old), by_scope(new)
        makes = {layer.signature: layer for layer in (*old, *new)}
        olds, news = ({layer.signature for layer in layers} for layers in (old, new))
        self._best_old = {a: max((self.overlap(makes[a], makes[b]) for b in news), default=0.0) for a in olds}
        self._best_new = {b: max((self.overlap(makes[a], makes[b]) for a in olds), default=0.0) for b in news}

    def overlap(self, one: LayerNames, other: LayerNames) -> float:
        """Return the fraction of variables in both layers with equal shape and dtype; 0 if one differs."""
        key = (one.signature, other.signature)
        if key not in self._overlaps:
            common = [role for role in one.specs if role in other.specs]
            same = all(one.specs[role] == other.specs[role] for role in common)
            self._overlaps[key] = len(common) / len({*one.specs, *other.specs}) if same else 0.0
        return self._overlaps[key]

    def fits_others_better(self, one: LayerNames, other: LayerNames) -> bool:
        """Return True if each layer has more variables in common with another layer."""
        overlap = self.overlap(one, other)
        return overlap < self._best_old[one.signature] and overlap < self._best_new[other.signature]

    def learn(self, pairs: Sequence[tuple[LayerNames, LayerNames]]) -> None:
        """Learn from certain pairs how words and scopes were renamed."""
        for one, other in pairs:
            for i, j in self.align(one.labels, other.labels).pairs:
                self._words[one.labels[i]][other.labels[j]] += 1
                before, after = one.path[: i + 1], other.path[: j + 1]
                self._scopes[before][after] += 1
                self._origins[after][before] += 1
        learned = {
            word: top for word, votes in self._words.items() if (top := _majority(votes)) and sum(votes.values()) > 1
        }
        if learned != self._learned:
            self._learned = learned
            self._alignments.clear()
            self._numberings.clear()
            self._agreements.clear()

    def same_layer(self, one: LayerNames, other: LayerNames) -> bool:
        """Return True if two layers of one name are the same: no numbers or shapes of others contradict it."""
        found = self._numbering(one.labels, other.labels)
        return found.offset is not None and not any(found.offset) and self.scopes_agree(one, other)

    def scopes_agree(self, one: LayerNames, other: LayerNames, *, swapped: bool = False) -> bool:
        """Return True if the scopes that would become one contain the same layers, as far as names show.

        If words were replaced, inserted or removed that no certain pair explains, at least two layers must agree. A
        word on both sides is not replaced by another, unless two are known to have been ``swapped``.
        """
        if self.fits_others_better(one, other):
            return False
        alignment = self.align(one.labels, other.labels)
        agreed, above = 0, (-1, -1)
        for i, j in alignment.pairs:
            before, after = one.path[: i + 1], other.path[: j + 1]
            same, different = self._scope_agreement(before, after)
            learned = self._is_same_scope(before, after)
            if different > _DOUBT * (same + different) and not learned:
                return False
            unlike = self._word_similarity(one.labels[i], other.labels[j]) < _SIMILAR
            if unlike and not learned and not swapped and self._on_both_sides(one.labels[i], other.labels[j]):
                return False
            if unlike or not same or (i, j) != (above[0] + 1, above[1] + 1):
                agreed = 0
            agreed = max(agreed, 2 if learned else same)
            above = (i, j)
        return agreed > 1 or not self._has_unmatched_labels(one.labels, other.labels, alignment)

    def score(self, one: LayerNames, other: LayerNames) -> Score:
        """Return the score of an old layer and a new one."""
        alignment = self.align(one.labels, other.labels)
        found = self._numbering(one.labels, other.labels)
        a, b = aligned_numbers(one, alignment.pairs, other)
        if found.offset is None:
            numbers = 0
        else:
            numbers = 1 if tuple(x + d for x, d in zip(a, found.offset, strict=True)) == b else -1
        scopes = self._scope_evidence(one, other)
        parents = scopes > 0 and self._is_same_scope(one.path[:-1], other.path[:-1])
        ends = bool(one.path and other.path) and self._word_similarity(one.labels[-1], other.labels[-1]) >= _SIMILAR
        ends = ends or not any(
            self._word_similarity(one.labels[i], other.labels[j]) < _SIMILAR for i, j in alignment.pairs
        )
        words = alignment.matched >= 0.5 and alignment.fraction >= 0.5
        known = (ends and (words or parents)) or (numbers > 0 and found.kinds > 1)
        total = alignment.score + numbers + scopes + 0.3 * self.overlap(one, other)
        return Score(total=total, numbers=numbers, scopes=scopes, known=known)

    def align(self, one: tuple[str, ...], other: tuple[str, ...]) -> Alignment:
        """Align two label paths."""
        key = (one, other)
        if key not in self._alignments:
            self._alignments[key] = self._new_alignment(one, other)
        return self._alignments[key]

    def _word_similarity(self, one: str, other: str) -> float:
        return max(word_similarity(one, other), _LEARNED if self._learned.get(one) == other else 0.0)

    def _new_alignment(self, one: tuple[str, ...], other: tuple[str, ...]) -> Alignment:
        pairs = align(one, other, self._pair_score, self._old, self._new)
        weights = [sum(self._old[label] for label in one), sum(self._new[label] for label in other)]
        similarities = [(one[i], other[j], self._word_similarity(one[i], other[j])) for i, j in pairs]
        matched = sum((self._old[old] + self._new[new]) / 2 * similarity for old, new, similarity in similarities)
        lost = sum(weights) - 2 * matched
        lost += sum(self._on_both_sides(old, new) for old, new, similarity in similarities if similarity < _SIMILAR)
        fraction = matched / max(weights) if max(weights) else 0.0
        return Alignment(score=matched - 0.25 * lost, fraction=fraction, matched=matched, pairs=pairs)

    def _pair_score(self, one: str, other: str) -> float:
        similarity, a, b = self._word_similarity(one, other), self._old[one], self._new[other]
        return similarity * ((a + b) / 2 + _STEP) - 0.5 * (1 - similarity) * (a + b) + _STEP / 2

    def _on_both_sides(self, one: str, other: str) -> bool:
        """Return True if a replaced word, or its replacement, occurs on both sides."""
        return one in self._new or other in self._old

    def _numbering(self, one: tuple[str, ...], other: tuple[str, ...]) -> Numbering:
        key = (one, other)
        if key not in self._numberings:
            self._numberings[key] = numbering(
                self._olds[one], self._news[other], self.align(one, other).pairs, self.overlap, self._has_candidate
            )
        return self._numberings[key]

    def _has_unmatched_labels(self, one: tuple[str, ...], other: tuple[str, ...], alignment: Alignment) -> bool:
        """Return True if labels of some weight have no similar label on the other side."""
        like = [(i, j) for i, j in alignment.pairs if self._word_similarity(one[i], other[j]) >= _SIMILAR]
        return any(
            weights[label] >= _SMALL
            for labels, weights, met in (
                (one, self._old, {i for i, _ in like}),
                (other, self._new, {j for _, j in like}),
            )
            for index, label in enumerate(labels)
            if index not in met
        )

    def _scope_agreement(self, before: tuple[str, ...], after: tuple[str, ...]) -> tuple[int, int]:
        """Return the numbers of layers with one name in two scopes, with equal shapes and with different ones.

        Different shapes count only if both layers fit others better: a changed layer is not evidence about the rest.
        Layers in one scope only, under words that the other side has elsewhere, count as different too.
        """
        key = (before, after)
        if key not in self._agreements:
            by_words: dict[tuple[str, ...], list[LayerNames]] = {}
            for layer in self._in_new.get(after, ()):
                by_words.setdefault(tuple(map(letters, layer.labels[len(after) :])), []).append(layer)
            same = different = only_old = 0
            met: set[LayerNames] = set()
            for layer in self._in_old.get(before, ()):
                words = [self._learned.get(label, label) for label in layer.labels[len(before) :]]
                for other in by_words.get(tuple(map(letters, words)), ()):
                    offset = self._numbering(layer.labels, other.labels)
                    if other not in met and same_numbers(layer, len(before), other, len(after), offset):
                        met.add(other)
                        better = self.fits_others_better(layer, other)
                        same += not better and self.overlap(layer, other) > 0
                        different += better
                        break
                else:
                    only_old += all(word in self._new for word in words)
            only_new = sum(
                layer not in met and all(label in self._old for label in layer.labels[len(after) :])
                for layer in self._in_new.get(after, ())
            )
            self._agreements[key] = same, different + min(only_old, only_new)
        return self._agreements[key]

    def _has_candidate(self, layer: LayerNames) -> bool:
        """Return True if an old layer whose label path no new layer has could be this one."""
        return any(self.overlap(old, layer) > 0 for old in self._without_label_path)

    def _scope_evidence(self, one: LayerNames, other: LayerNames) -> int:
        votes = {_scope_vote(self._scopes, one.path, other.path), _scope_vote(self._origins, other.path, one.path)}
        return -1 if -1 in votes else max(votes)

    def _is_same_scope(self, before: tuple[str, ...], after: tuple[str, ...]) -> bool:
        return bool(before and after) and _majority(self._scopes.get(before, Counter())) == after


def _scope_vote(
    votes: Mapping[tuple[str, ...], Counter[tuple[str, ...]]], path: tuple[str, ...], other: tuple[str, ...]
) -> int:
    """Return 1 if the deepest known scope of one path contains the other, -1 if not, 0 if none is known."""
    for count in range(len(path), 0, -1):
        if path[:count] in votes:
            top = _majority(votes[path[:count]])
            return 0 if top is None else 1 if other[: len(top)] == top else -1
    return 0


def _majority(votes: Counter[Vote]) -> Vote | None:
    """Return the choice of at least four fifths of the votes."""
    if not votes:
        return None
    (top, count), *_ = votes.most_common(1)
    return top if count * 5 >= sum(votes.values()) * 4 else None

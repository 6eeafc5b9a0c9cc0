"""Suggestion of the checkpoint name for each variable of a network, from names and shapes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, TypeVar

from expkit.checkpoints.matching.layer_names import LayerNames, read_layers, role_of
from expkit.checkpoints.matching.similarity import Similarity
from expkit.checkpoints.ownership import ownership
from expkit.network.names import ema_name
from expkit.tensor_spec import TensorSpec

__all__ = ["Proposal", "Suggestion", "suggest"]

_MARGIN = 0.15
"""Lead over every other pair of either layer that a pair needs to be certain."""
_MOST_OTHERS = 4

_INTERCHANGEABLE = ({"bias", "beta"}, {"kernel", "embedding"}, {"kernel", "gamma"})
"""Roles whose names may replace each other."""

LayerPair = tuple[LayerNames, LayerNames]
Item = TypeVar("Item", LayerNames, str)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A variable, and the name in the checkpoint proposed for it."""

    variable: str
    source: str
    confidence: Literal["high", "ambiguous"]
    """``high``: names and shapes allow nothing else; ``ambiguous``: the best guess."""
    others: tuple[str, ...] = ()
    """Other possible names, best first."""


@dataclass(frozen=True)
class Suggestion:
    """Proposals for a network's variables, in their order."""

    proposals: tuple[Proposal, ...]
    missing: tuple[str, ...]
    """Variables that nothing in the checkpoint fits."""
    unused: tuple[str, ...]
    """Names in the checkpoint that are not proposed for a variable, without counters, slots and EMA variables."""

    @property
    def certain(self) -> bool:
        """True if every variable has a proposal, and none is a guess."""
        return not self.missing and all(proposal.confidence == "high" for proposal in self.proposals)


def suggest(old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec], *, in_order: bool = False) -> Suggestion:
    """Return the old name proposed for each new one.

    Only variables with equal shape and dtype are paired, and the variables of a layer together. Certain are, in turn,
    unchanged names (unless the shapes beside them, or the numbers of similar names, contradict), then pairs that fit
    better than all others by words, numbers and scopes, each pair teaching how words and scopes were renamed. The rest
    is assigned as well as possible, and called ambiguous. Names are believed: two layers of equal shapes that exchanged
    their names cannot be distinguished from two that did not.

    Args:
        old: variables in the checkpoint, or of an earlier version of the network; counters, slots and EMA are ignored.
        new: variables of the network, in order.
        in_order: True if the old variables are in the order of their creation, unlike those of a checkpoint.
    """
    weights = _weights(old)
    olds, news = read_layers(weights), read_layers(new)
    similarity = Similarity(olds, news)
    certain = _certain(olds, news, similarity, in_order)
    found = {proposal.variable: proposal for pair in certain for proposal in _high(pair)}
    left_olds = _without(olds, (one for one, _ in certain))
    left_news = _without(news, (other for _, other in certain))
    if not in_order:
        left_olds.sort(key=lambda layer: [_by_number(label) for label in layer.path])
    for one, other, others in _assigned(left_olds, left_news, similarity):
        for role in one.names:
            if role in other.names:
                variable, source = other.names[role], one.names[role]
                names = tuple(layer.names[role] for layer in others if role in layer.names)
                found[variable] = Proposal(variable=variable, source=source, confidence="ambiguous", others=names)
    used = {proposal.source for proposal in found.values()}
    for proposal in _guessed(
        {name: spec for name, spec in weights.items() if name not in used},
        {name: spec for name, spec in new.items() if name not in found},
    ):
        found[proposal.variable] = proposal
        used.add(proposal.source)
    return Suggestion(
        tuple(found[name] for name in new if name in found),
        tuple(name for name in new if name not in found),
        tuple(name for name in weights if name not in used),
    )


def _weights(old: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Return the old variables that are weights; an EMA variable without its owner replaces it."""
    kinds = ownership(old)
    return {name.removesuffix(ema_name("")): spec for name, spec in old.items() if kinds[name].kind == "variable"}


def _high(pair: LayerPair) -> Iterable[Proposal]:
    one, other = pair
    return (
        Proposal(variable=other.names[role], source=name, confidence="high")
        for role, name in one.names.items()
        if role in other.names
    )


def _by_number(label: str) -> list[tuple[str, int]]:
    """Return the sort key of a label, with ``layer_2`` before ``layer_10``."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", label)]


def _without(layers: Iterable[LayerNames], used: Iterable[LayerNames]) -> list[LayerNames]:
    gone = {id(layer) for layer in used}
    return [layer for layer in layers if id(layer) not in gone]


def _certain(olds: list[LayerNames], news: list[LayerNames], similarity: Similarity, in_order: bool) -> list[LayerPair]:
    """Return the pairs of layers without contrary evidence."""
    by_path = {layer.path: layer for layer in news}
    enclosing = _EnclosingLayers(olds, news)
    certain = [
        (old, new)
        for old in olds
        if (new := by_path.get(old.path)) and similarity.overlap(old, new) and similarity.same_layer(old, new)
    ]
    more = certain
    while True:
        similarity.learn(more)
        enclosing.join(more)
        left_olds = _without(olds, (one for one, _ in certain))
        left_news = _without(news, (other for _, other in certain))
        more = _clear(left_olds, left_news, similarity, enclosing)
        if not more and in_order:
            more = _between(olds, news, certain, similarity)
        if not more:
            return certain
        certain = [*certain, *more]


class _EnclosingLayers:
    """Layers with others in their scope (a convolution, and the norm in its scope), which must be paired first."""

    def __init__(self, olds: Iterable[LayerNames], news: Iterable[LayerNames]) -> None:
        self._olds = {layer.path: layer for layer in olds}
        self._news = {layer.path: layer for layer in news}
        self._joined: dict[LayerNames, LayerNames] = {}

    def join(self, pairs: Iterable[LayerPair]) -> None:
        """Add certain pairs."""
        self._joined |= dict(pairs)

    def agree(self, pair: LayerPair) -> bool:
        """Return True if the enclosing layers of both, if both have one, are a certain pair."""
        old, new = self._olds.get(pair[0].path[:-1]), self._news.get(pair[1].path[:-1])
        return old is None or new is None or self._joined.get(old) is new


def _candidates(olds: Sequence[LayerNames], news: Sequence[LayerNames], similarity: Similarity) -> list[LayerPair]:
    groups: dict[frozenset[tuple[str, TensorSpec]], list[LayerNames]] = defaultdict(list)
    for layer in news:
        groups[layer.signature].append(layer)
    return [
        (one, other)
        for one in olds
        for group in groups.values()
        if similarity.overlap(one, group[0])
        for other in group
    ]


def _clear(
    olds: list[LayerNames], news: list[LayerNames], similarity: Similarity, enclosing: _EnclosingLayers
) -> list[LayerPair]:
    """Return the pairs that score higher than all others of both layers, with evidence besides shapes."""
    scores = {pair: similarity.score(*pair) for pair in _candidates(olds, news, similarity)}
    best: dict[int, list[tuple[float, LayerNames]]] = defaultdict(list)
    for (one, other), score in scores.items():
        best[id(one)].append((score.total, other))
        best[id(other)].append((score.total, one))
    for ranked in best.values():
        ranked.sort(key=lambda item: -item[0])
    sole = {
        (one.path, other.path)
        for one, other in scores
        if len(best[id(one)]) == len(best[id(other)]) == 1 and one.path != other.path
    }

    def is_clear(one: LayerNames, other: LayerNames) -> bool:
        score, swapped = scores[one, other], (other.path, one.path) in sole
        evidence = min(score.numbers, score.scopes) >= 0 and (score.known or swapped)
        agreed = evidence and _leads((one, other), best) and enclosing.agree((one, other))
        return agreed and similarity.scopes_agree(one, other, swapped=swapped)

    return [pair for pair in scores if is_clear(*pair)]


def _leads(pair: LayerPair, best: Mapping[int, Sequence[tuple[float, LayerNames]]]) -> bool:
    for layer, other in (pair, pair[::-1]):
        (score, first), *rest = best[id(layer)]
        if first is not other or (rest and score - rest[0][0] < _MARGIN):
            return False
    return True


def _between(
    olds: list[LayerNames], news: list[LayerNames], certain: Iterable[LayerPair], similarity: Similarity
) -> list[LayerPair]:
    """Return the pairs of single layers between the same neighbours, or ends, on both sides."""
    indices: dict[int, int] = {-1: -1, len(olds): len(news)}
    indices |= {one.index: other.index for one, other in certain}
    taken = set(indices.values())
    found = []
    for layer in olds:
        before, after = indices.get(layer.index - 1), indices.get(layer.index + 1)
        if layer.index in indices or before is None or after is None or after - before != 2 or before + 1 in taken:
            continue
        if similarity.overlap(layer, news[before + 1]):
            found.append((layer, news[before + 1]))
    return found


def _assigned(
    olds: list[LayerNames], news: list[LayerNames], similarity: Similarity
) -> list[tuple[LayerNames, LayerNames, tuple[LayerNames, ...]]]:
    """Return the best assignment of the remaining layers, with other candidates for each new one."""
    scores = {pair: similarity.score(*pair) for pair in _candidates(olds, news, similarity)}
    if not scores:
        return []
    rank = [{id(layer): i / len(layers) for i, layer in enumerate(layers)} for layers in (olds, news)]
    worth = {
        (one, other): score.total - 0.1 * abs(rank[0][id(one)] - rank[1][id(other)])
        for (one, other), score in scores.items()
    }
    others: dict[int, list[tuple[float, LayerNames]]] = defaultdict(list)
    for (one, other), value in worth.items():
        others[id(other)].append((value, one))
    return [
        (
            one,
            other,
            tuple(layer for _, layer in sorted(others[id(other)], key=lambda item: -item[0]) if layer is not one)[
                :_MOST_OTHERS
            ],
        )
        for one, other in _best_assignment(worth)
    ]


def _best_assignment(worth: Mapping[tuple[Item, Item], float]) -> list[tuple[Item, Item]]:
    """Return the largest set of disjoint pairs, among such sets the one with the largest sum."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    ones, others = (list(dict.fromkeys(items)) for items in zip(*worth, strict=True))
    rows, columns = ({item: i for i, item in enumerate(items)} for items in (ones, others))
    none = min(worth.values()) - (max(worth.values()) - min(worth.values()) + 1) * (len(worth) + 1)
    matrix = np.full((len(ones), len(others)), none)
    for (one, other), value in worth.items():
        matrix[rows[one], columns[other]] = value
    chosen = ((ones[i], others[j]) for i, j in zip(*linear_sum_assignment(matrix, maximize=True), strict=True))
    return [pair for pair in chosen if pair in worth]


def _guessed(old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> list[Proposal]:
    """Return the best assignment of the variables that no pair of layers includes."""
    worth = {
        (source, variable): SequenceMatcher(None, source, variable).ratio() + (role_of(source) == role_of(variable))
        for variable, spec in new.items()
        for source, old_spec in old.items()
        if old_spec == spec and _may_rename(role_of(source), role_of(variable))
    }
    if not worth:
        return []
    candidates: dict[str, list[str]] = defaultdict(list)
    for source, variable in sorted(worth, key=lambda pair: -worth[pair]):
        candidates[variable].append(source)
    return [
        Proposal(
            variable=variable,
            source=source,
            confidence="ambiguous",
            others=tuple(name for name in candidates[variable] if name != source)[:_MOST_OTHERS],
        )
        for source, variable in _best_assignment(worth)
    ]


def _may_rename(one: str, other: str) -> bool:
    return one == other or not one or not other or {one, other} in _INTERCHANGEABLE

"""Which name in a checkpoint is which variable of a network, found from names and shapes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, TypeVar

from expkit.checkpoints.matching.layer_names import Layer, Made, layers_of, role_of
from expkit.checkpoints.matching.similarity import Fit, Sides
from expkit.checkpoints.ownership import kin
from expkit.network.names import ema_name

__all__ = ["Made", "Proposal", "Suggestion", "suggest"]

_MARGIN = 0.15
"""By how much a pair must fit better than every other pair that either could make."""
_MOST_OTHERS = 4

_MAY_BE = ({"bias", "beta"}, {"kernel", "embedding"}, {"kernel", "gamma"})
"""Roles of which one may be called the other."""

Pair = tuple[Layer, Layer]
Item = TypeVar("Item", Layer, str)


@dataclass(frozen=True)
class Proposal:
    """A variable, and the name in the checkpoint that is to give its value."""

    variable: str
    source: str
    sure: Literal["high", "ambiguous"]
    """``high``: names and shapes leave no other way; ``ambiguous``: the best guess."""
    others: tuple[str, ...] = ()
    """Other names that may be meant, best first."""


@dataclass(frozen=True)
class Suggestion:
    """What is proposed for a network's variables, in their order."""

    proposals: tuple[Proposal, ...]
    missing: tuple[str, ...]
    """Variables that nothing in the checkpoint fits."""
    spare: tuple[str, ...]
    """Names in the checkpoint that no variable was proposed for, besides counters, slots and averages."""

    @property
    def certain(self) -> bool:
        """Whether every variable has a value, and none of it is a guess."""
        return not self.missing and all(proposal.sure == "high" for proposal in self.proposals)


def suggest(old: Mapping[str, Made], new: Mapping[str, Made], *, in_order: bool = False) -> Suggestion:
    """Return which of the old names is which of the new ones.

    Only variables of one shape and dtype are paired, and the variables of a layer together. Certain are, in turn, the
    names that stayed (unless the shapes beside them, or the numbers of their like, say that they did not), then what
    fits better than all else by words, numbers and scopes, each pair teaching how words and scopes were renamed. What
    is left is assigned as well as may be, and called ambiguous. Names are believed: two layers of the same shapes that
    exchanged their names cannot be told from two that did not.

    Args:
        old: variables in the checkpoint, or of the network as it was; with counters, slots and averages or without.
        new: variables of the network, in order.
        in_order: whether the old ones stand in the order in which they were made; a checkpoint's do not.
    """
    weights = _weights(old)
    olds, news = layers_of(weights), layers_of(new)
    sides = Sides(olds, news)
    certain = _certain(olds, news, sides, in_order)
    found = {proposal.variable: proposal for pair in certain for proposal in _high(pair)}
    left_olds = _without(olds, (one for one, _ in certain))
    left_news = _without(news, (other for _, other in certain))
    if not in_order:
        left_olds.sort(key=lambda layer: [_by_number(label) for label in layer.path])
    for one, other, others in _assigned(left_olds, left_news, sides):
        for role in one.names:
            if role in other.names:
                names = tuple(its.names[role] for its in others if role in its.names)
                found[other.names[role]] = Proposal(other.names[role], one.names[role], "ambiguous", names)
    used = {proposal.source for proposal in found.values()}
    for proposal in _guessed(
        {name: made for name, made in weights.items() if name not in used},
        {name: made for name, made in new.items() if name not in found},
    ):
        found[proposal.variable] = proposal
        used.add(proposal.source)
    return Suggestion(
        tuple(found[name] for name in new if name in found),
        tuple(name for name in new if name not in found),
        tuple(name for name in weights if name not in used),
    )


def _weights(old: Mapping[str, Made]) -> dict[str, Made]:
    """Return the old variables that are weights; an average without its variable stands for it."""
    kinds = kin(old)
    return {name.removesuffix(ema_name("")): made for name, made in old.items() if kinds[name].kind == "variable"}


def _high(pair: Pair) -> Iterable[Proposal]:
    one, other = pair
    return (Proposal(other.names[role], name, "high") for role, name in one.names.items() if role in other.names)


def _by_number(label: str) -> list[tuple[str, int]]:
    """Return what a label sorts by, so that layer_2 comes before layer_10."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D*)(\d*)", label)]


def _without(layers: Iterable[Layer], used: Iterable[Layer]) -> list[Layer]:
    gone = {id(layer) for layer in used}
    return [layer for layer in layers if id(layer) not in gone]


def _certain(olds: list[Layer], news: list[Layer], sides: Sides, in_order: bool) -> list[Pair]:
    """Return the pairs of layers that nothing speaks against."""
    here = {layer.path: layer for layer in news}
    owners = _Owners(olds, news)
    certain = [
        (layer, here[layer.path])
        for layer in olds
        if layer.path in here and sides.overlap(layer, here[layer.path]) and sides.settled(layer, here[layer.path])
    ]
    more = certain
    while True:
        sides.learn(more)
        owners.join(more)
        left_olds = _without(olds, (one for one, _ in certain))
        left_news = _without(news, (other for _, other in certain))
        more = _clear(left_olds, left_news, sides, owners)
        if not more and in_order:
            more = _between(olds, news, certain, sides)
        if not more:
            return certain
        certain = [*certain, *more]


class _Owners:
    """The layers in whose scope others stand (a convolution, and the norm in its scope): they go first."""

    def __init__(self, olds: Iterable[Layer], news: Iterable[Layer]) -> None:
        self._olds = {layer.path: layer for layer in olds}
        self._news = {layer.path: layer for layer in news}
        self._joined: dict[Layer, Layer] = {}

    def join(self, pairs: Iterable[Pair]) -> None:
        """Take pairs as certain."""
        self._joined |= dict(pairs)

    def agree(self, pair: Pair) -> bool:
        """Return whether the owners of both layers, if both have one, are certain to be one."""
        owners = self._olds.get(pair[0].path[:-1]), self._news.get(pair[1].path[:-1])
        return None in owners or self._joined.get(owners[0]) is owners[1]  # type: ignore[arg-type]


def _candidates(olds: Sequence[Layer], news: Sequence[Layer], sides: Sides) -> list[Pair]:
    groups: dict[frozenset[tuple[str, Made]], list[Layer]] = defaultdict(list)
    for layer in news:
        groups[layer.signature].append(layer)
    return [
        (one, other) for one in olds for group in groups.values() if sides.overlap(one, group[0]) for other in group
    ]


def _clear(olds: list[Layer], news: list[Layer], sides: Sides, owners: _Owners) -> list[Pair]:
    """Return the pairs that fit better than all others of both layers, and that more than shapes speak for."""
    fits = {pair: sides.fit(*pair) for pair in _candidates(olds, news, sides)}
    best: dict[int, list[tuple[float, Layer]]] = defaultdict(list)
    for (one, other), fit in fits.items():
        best[id(one)].append((fit.score, other))
        best[id(other)].append((fit.score, one))
    for ranked in best.values():
        ranked.sort(key=lambda item: -item[0])
    sole = {
        (one.path, other.path)
        for one, other in fits
        if len(best[id(one)]) == len(best[id(other)]) == 1 and one.path != other.path
    }
    found = []
    for (one, other), fit in fits.items():
        swapped = (other.path, one.path) in sole
        if (
            _leads((one, other), best)
            and min(fit.numbers, fit.inside) >= 0
            and (fit.known or swapped)
            and owners.agree((one, other))
            and sides.holds(one, other, swapped=swapped)
        ):
            found.append((one, other))
    return found


def _leads(pair: Pair, best: Mapping[int, Sequence[tuple[float, Layer]]]) -> bool:
    for layer, its in (pair, pair[::-1]):
        (score, first), *rest = best[id(layer)]
        if first is not its or (rest and score - rest[0][0] < _MARGIN):
            return False
    return True


def _between(olds: list[Layer], news: list[Layer], certain: Iterable[Pair], sides: Sides) -> list[Pair]:
    """Return the pairs that stand alone between the same neighbours, or ends, on both sides."""
    places: dict[int, int] = {-1: -1, len(olds): len(news)}
    places |= {one.place: other.place for one, other in certain}
    taken = set(places.values())
    found = []
    for layer in olds:
        before, after = places.get(layer.place - 1), places.get(layer.place + 1)
        if layer.place in places or before is None or after is None or after - before != 2 or before + 1 in taken:
            continue
        if sides.overlap(layer, news[before + 1]):
            found.append((layer, news[before + 1]))
    return found


def _assigned(olds: list[Layer], news: list[Layer], sides: Sides) -> list[tuple[Layer, Layer, tuple[Layer, ...]]]:
    """Return the best assignment of the layers that are left, and what else each of the new ones may be."""
    fits: dict[Pair, Fit] = {pair: sides.fit(*pair) for pair in _candidates(olds, news, sides)}
    if not fits:
        return []
    rank = [{id(layer): i / len(layers) for i, layer in enumerate(layers)} for layers in (olds, news)]
    worth = {
        (one, other): fit.score - 0.1 * abs(rank[0][id(one)] - rank[1][id(other)]) for (one, other), fit in fits.items()
    }
    others: dict[int, list[tuple[float, Layer]]] = defaultdict(list)
    for (one, other), score in worth.items():
        others[id(other)].append((score, one))
    return [
        (
            one,
            other,
            tuple(its for _, its in sorted(others[id(other)], key=lambda item: -item[0]) if its is not one)[
                :_MOST_OTHERS
            ],
        )
        for one, other in _best_assignment(worth)
    ]


def _best_assignment(worth: Mapping[tuple[Item, Item], float]) -> list[tuple[Item, Item]]:
    """Return the pairs, each item in one at most, of the largest sum, after the largest number, of pairs."""
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


def _guessed(old: Mapping[str, Made], new: Mapping[str, Made]) -> list[Proposal]:
    """Return the best assignment of single variables that no layer took along."""
    worth = {
        (source, variable): SequenceMatcher(None, source, variable).ratio() + (role_of(source) == role_of(variable))
        for variable, made in new.items()
        for source, its in old.items()
        if its == made and _may_be(role_of(source), role_of(variable))
    }
    if not worth:
        return []
    return [
        Proposal(
            variable,
            source,
            "ambiguous",
            tuple(
                sorted(
                    (name for name, its in worth if its == variable and name != source),
                    key=lambda name: -worth[name, variable],
                )[:_MOST_OTHERS]
            ),
        )
        for source, variable in _best_assignment(worth)
    ]


def _may_be(one: str, other: str) -> bool:
    return one == other or not one or not other or {one, other} in _MAY_BE

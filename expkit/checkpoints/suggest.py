"""Rename rules that bring a checkpoint's names to a network's, guessed from shapes and names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile

from expkit.config.schema import RenameRule

__all__ = ["Made", "Suggestion", "keep_initial_patterns", "suggest"]


@dataclass(frozen=True)
class Made:
    """What a variable is made as."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{list(self.shape)} {self.dtype}"


@dataclass(frozen=True)
class Suggestion:
    """Which name became which."""

    names: Mapping[str, str]
    """New names by old ones, where one new name fits better than all others."""
    unclear: Mapping[str, tuple[str, ...]]
    """New names by an old one that several fit equally well."""
    rules: tuple[RenameRule, ...]
    """Rules for ``restore.rename`` that do what ``names`` says."""


def suggest(old: Mapping[str, Made], new: Mapping[str, Made]) -> Suggestion:
    """Return which of the old names that are no more became which of the new ones that were not before.

    Only variables of one shape and dtype are matched. Of several, the one wins whose name ends in the same parts, then
    the one that begins with the same, then the one with the same numbers in it; it must win from both sides.

    Args:
        old: variables in the checkpoint, or of the network as it was.
        new: variables of the network.
    """
    gone = {name: made for name, made in old.items() if new.get(name) != made}
    come = {name: made for name, made in new.items() if old.get(name) != made}
    names: dict[str, str] = {}
    while found := dict(_matches(gone, come)):
        names |= found
        gone = {name: made for name, made in gone.items() if name not in found}
        come = {name: made for name, made in come.items() if name not in found.values()}
    unclear = {name: fitting for name, made in gone.items() if (fitting := _best(name, made, come))}
    return Suggestion({name: names[name] for name in old if name in names}, unclear, tuple(_rules(names, list(old))))


def keep_initial_patterns(wanted: Collection[str], all_names: Collection[str]) -> list[str]:
    """Return regular expressions for ``restore.keep_initial`` that match the wanted names and no other."""
    patterns: dict[str, None] = {}
    for name in wanted:
        parts = name.split("/")
        scopes = ("/".join(parts[:end]) for end in range(1, len(parts)))
        whole = (s for s in scopes if all(other in wanted for other in all_names if other.startswith(f"{s}/")))
        scope = next(whole, None)
        patterns[re.escape(name) if scope is None else f"{re.escape(scope)}/.*"] = None
    return list(patterns)


def _matches(gone: Mapping[str, Made], come: Mapping[str, Made]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of names of which each is the other's only best."""
    for name, made in gone.items():
        best = _best(name, made, come)
        if len(best) == 1 and _best(best[0], made, gone) == (name,):
            yield name, best[0]


def _best(name: str, made: Made, among: Mapping[str, Made]) -> tuple[str, ...]:
    """Return the names that fit a name best: one, or several equally well."""
    scores = {other: _likeness(name, other) for other, its in among.items() if its == made}
    return tuple(other for other, score in scores.items() if score == max(scores.values()))


def _likeness(one: str, other: str) -> tuple[int, int, bool]:
    a, b = one.split("/"), other.split("/")
    ends = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
    begins = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
    return ends, begins, re.findall(r"\d+", one) == re.findall(r"\d+", other)


def _rules(names: Mapping[str, str], old: Collection[str]) -> Iterator[RenameRule]:
    """Yield rules: patterns where one says what became of many names and of no other, then one for each name left."""
    left = dict(names)
    for make in (_numbered_scopes, _scopes, _endings):
        for pattern, to in dict.fromkeys(rule for name, its in names.items() for rule in make(name, its)):
            matched = {name: match.expand(to) for name in old if (match := re.fullmatch(pattern, name))}
            if len(matched) > 1 and all(left.get(name) == target for name, target in matched.items()):
                yield RenameRule(pattern=pattern, to=to)
                left = {name: target for name, target in left.items() if name not in matched}
    yield from (RenameRule(name=name, to=to) for name, to in left.items())


def _moves(name: str, to: str) -> Iterator[tuple[str, str]]:
    """Yield the scopes that differ in two names with one ending, the shortest first."""
    a, b = name.split("/"), to.split("/")
    most = min(_likeness(name, to)[0], len(a) - 1, len(b) - 1)
    for count in range(most, 0, -1):
        yield "/".join(a[:-count]), "/".join(b[:-count])


def _scopes(name: str, to: str) -> Iterator[tuple[str, str]]:
    return ((f"{re.escape(before)}/(.*)", rf"{after}/\1") for before, after in _moves(name, to))


def _numbered_scopes(name: str, to: str) -> Iterator[tuple[str, str]]:
    """Yield rules for a scope that stands for all with another number."""
    for scopes in _moves(name, to):
        before, after = (re.split(r"(\d+)", scope) for scope in scopes)
        if len(before) > 1 and before[1::2] == after[1::2]:
            groups = (rf"\{i}" for i in range(1, len(after)))
            target = "".join(next(groups) if i % 2 else part for i, part in enumerate(after))
            pattern = r"(\d+)".join(re.escape(part) for part in before[::2])
            yield f"{pattern}/(.*)", f"{target}/{next(groups)}"


def _endings(name: str, to: str) -> Iterator[tuple[str, str]]:
    (scope, _, end), (other, _, its) = name.rpartition("/"), to.rpartition("/")
    if scope and scope == other:
        yield rf"(.*)/{re.escape(end)}", rf"\1/{its}"

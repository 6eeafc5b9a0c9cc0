"""Surgery on a checkpoint, planned: which name of the new file holds which name of the old, without TensorFlow.

A variable is given by its exact name, or by a regular expression that matches all of it; an exact name goes before an
expression. What belongs to a variable (optimizer slots, averages, counters of averages) goes where it goes, unless a
rule says otherwise of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expkit.checkpoints.ownership import Kin, following, kin
from expkit.errors import CheckpointError, Problem, comma_list, unknown
from expkit.network.names import ema_name

__all__ = ["Move", "Surgery", "bake", "copy", "remove", "rename", "same_variables", "select"]


@dataclass(frozen=True)
class Move:
    """One name of the new file."""

    name: str
    source: str
    """Name in the old file."""


@dataclass(frozen=True)
class Surgery:
    """What the new file holds, and what of the old it does not."""

    moves: tuple[Move, ...]
    dropped: tuple[str, ...] = ()


def rename(variables: Mapping[str, Any], pairs: Sequence[tuple[str, str]], at: str) -> Surgery:
    """Plan a file in which names are others.

    The pairs are a true map, so names can be swapped; two names can never become one.

    Args:
        variables: what each is made as (shape and dtype), by name.
        pairs: old and new name; ``\\1`` in the new is a group of the old, a regular expression.
        at: what the problems are of.

    Raises:
        CheckpointError: with every pair that matches nothing and every name that would be there twice.
    """
    problems: list[Problem] = []
    kinds = kin(variables)
    targets = _targets(variables, pairs, at, problems)
    for name in variables:
        _follow(name, kinds, targets)
    moves = tuple(Move(targets.get(name, name), name) for name in variables)
    _refuse_twice(moves, at, problems)
    if problems:
        raise CheckpointError(*problems)
    return Surgery(moves)


def copy(variables: Mapping[str, Any], only: Sequence[str], pairs: Sequence[tuple[str, str]], at: str) -> Surgery:
    """Plan a file of all variables or some, and of some under a second name.

    Args:
        variables: what each is made as, by name.
        only: names or expressions of those to keep under their own names; all where there are none.
        pairs: names, and their second names, as for ``rename``.
        at: what the problems are of.

    Raises:
        CheckpointError: with every word that matches nothing and every name that would be there twice.
    """
    problems: list[Problem] = []
    kinds = kin(variables)
    kept = _with_kin(_selected(variables, only, at, problems), kinds) if only else set(variables)
    targets = _targets(variables, pairs, at, problems)
    for name in variables:
        _follow(name, kinds, targets)
    moves = [Move(name, name) for name in variables if name in kept]
    moves += [Move(target, name) for name, target in targets.items()]
    _refuse_twice(moves, at, problems)
    if problems:
        raise CheckpointError(*problems)
    written = {move.source for move in moves}
    return Surgery(tuple(moves), tuple(name for name in variables if name not in written))


def remove(variables: Mapping[str, Any], words: Sequence[str], at: str) -> Surgery:
    """Plan a file without some variables.

    Raises:
        CheckpointError: with every word that matches nothing; nothing would be left.
    """
    dropped = _with_kin(select(variables, words, at), kin(variables))
    if len(dropped) == len(variables):
        raise CheckpointError.at(at, f"nothing would be left of the {len(variables)} variables")
    moves = tuple(Move(name, name) for name in variables if name not in dropped)
    return Surgery(moves, tuple(name for name in variables if name in dropped))


def bake(variables: Mapping[str, Any], at: str) -> Surgery:
    """Plan a file that holds the averages as the variables, and no averages; what has none stays as it is.

    Raises:
        CheckpointError: there are no averages.
    """
    end = ema_name("")
    averages = {name.removesuffix(end): name for name in variables if name.endswith(end)}
    if not averages:
        raise CheckpointError.at(at, f"holds no averages: no name ends in {end}; names: {comma_list(variables)}")
    kept = [name for name in variables if end not in name and name not in averages]
    moves = [Move(name, averages.get(name, name)) for name in sorted([*averages, *kept])]
    written = {move.source for move in moves}
    return Surgery(tuple(moves), tuple(name for name in variables if name not in written))


def same_variables(files: Mapping[str, Mapping[str, Any]], at: str) -> None:
    """Check that all files hold the same names, each made as in the first.

    Args:
        files: what each variable is made as, by name, by file.
        at: what the problems are of.

    Raises:
        CheckpointError: with every difference.
    """
    (first, wanted), *others = files.items()
    problems = []
    for file, variables in others:
        problems += [Problem(at, f"{file} lacks '{name}', which {first} has") for name in wanted.keys() - variables]
        problems += [Problem(at, f"{file} has '{name}', which {first} lacks") for name in variables.keys() - wanted]
        problems += [
            Problem(at, f"'{name}' is {made} in {first}, {variables[name]} in {file}")
            for name, made in wanted.items()
            if name in variables and variables[name] != made
        ]
    if problems:
        raise CheckpointError(*sorted(problems, key=str))


def select(variables: Iterable[str], words: Sequence[str], at: str) -> list[str]:
    """Return the names that words mean, exact names or regular expressions, in their own order.

    Raises:
        CheckpointError: with every word that matches nothing.
    """
    problems: list[Problem] = []
    found = _selected(list(variables), words, at, problems)
    if problems:
        raise CheckpointError(*problems)
    return found


def _selected(variables: Iterable[str], words: Sequence[str], at: str, problems: list[Problem]) -> list[str]:
    names = list(variables)
    found = {name for word in words for name in _matches(word, "", names, at, problems)}
    return [name for name in names if name in found]


def _matches(word: str, to: str, names: Iterable[str], at: str, problems: list[Problem]) -> dict[str, str]:
    """Return the names that a word means, each with what ``to`` says of it."""
    if word in names:
        return {word: to}
    try:
        matches = {name: re.fullmatch(word, name) for name in names}
        found = {name: match.expand(to) for name, match in matches.items() if match}
    except (re.error, IndexError) as error:
        rule = f"'{word}' -> '{to}'" if to else f"'{word}'"
        problems.append(Problem(at, f"{rule} is no regular expression: {error}"))
        return {}
    if not found:
        problems.append(Problem(at, unknown(f"'{word}' matches no name", word, names, label="names")))
    return found


def _targets(
    variables: Mapping[str, Any], pairs: Sequence[tuple[str, str]], at: str, problems: list[Problem]
) -> dict[str, str]:
    """Return the new names of those that a pair is about."""
    targets: dict[str, str] = {}
    by: dict[str, str] = {}
    for word, to in sorted(pairs, key=lambda pair: pair[0] not in variables):  # Exact names first: they win.
        for name, target in _matches(word, to, variables, at, problems).items():
            if not target:
                problems.append(Problem(at, f"'{name}' would have no name, by '{word}'"))
            elif name not in targets:
                targets[name], by[name] = target, word
            elif targets[name] != target and (word == name or by[name] != name):
                problems.append(
                    Problem(
                        at, f"'{name}' would be '{targets[name]}' by '{by[name]}' and '{target}' by '{word}'; keep one"
                    )
                )
    return targets


def _follow(name: str, kinds: Mapping[str, Kin], targets: dict[str, str]) -> None:
    """Add what a name becomes because the variable that it belongs to is renamed."""
    owner = kinds[name].owner
    if owner is not None and name not in targets:
        _follow(owner, kinds, targets)
        if owner in targets:
            targets[name] = following(name, owner, targets[owner])


def _with_kin(names: Iterable[str], kinds: Mapping[str, Kin]) -> set[str]:
    """Return names and all that belongs to them."""
    found = set(names)
    for name in kinds:
        line = [name]
        while (owner := kinds[line[-1]].owner) is not None:
            line.append(owner)
        if found.intersection(line):
            found.add(name)
    return found


def _refuse_twice(moves: Iterable[Move], at: str, problems: list[Problem]) -> None:
    sources: dict[str, list[str]] = {}
    for move in moves:
        sources.setdefault(move.name, []).append(move.source)
    problems += [
        Problem(at, f"{' and '.join(map(repr, names))} would both be '{name}'; give one of them another name")
        for name, names in sources.items()
        if len(names) > 1
    ]

"""Plans of new checkpoints made from existing ones: the old name of each new one, without TensorFlow.

A variable is given by its exact name, or by a regular expression that matches the whole name; an exact name takes
precedence. Optimizer slots, EMA variables and their counters are renamed or removed with their owner, unless a rule
names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from expkit.checkpoints.ownership import Ownership, owned, ownership, renamed_with_owner
from expkit.errors import CheckpointError, Problem, comma_list, unknown
from expkit.network.names import ema_name
from expkit.tensor_spec import TensorSpec

__all__ = ["EditPlan", "bake", "copy", "names_without_mean", "remove", "rename", "same_variables", "select"]

_DTYPES_WITHOUT_MEAN = ("int", "uint", "bool", "string")


@dataclass(frozen=True)
class EditPlan:
    """Contents of a new checkpoint."""

    sources: Mapping[str, str]
    """Names in the old checkpoint, by name in the new one."""
    dropped: tuple[str, ...] = ()
    """Names in the old checkpoint that the new one does not contain."""


def rename(variables: Mapping[str, Any], pairs: Sequence[tuple[str, str]], at: str) -> EditPlan:
    """Plan a checkpoint with other names.

    The pairs are a true map, so names can be swapped; two names can never become one.

    Args:
        variables: shape and dtype by name.
        pairs: old and new name; ``\\1`` in the new name is a group of the old one, a regular expression.
        at: argument to report in problems.

    Raises:
        CheckpointError: with every pair that matches nothing and every name that would occur twice.
    """
    problems: list[Problem] = []
    targets = _with_owned(_targets(variables, pairs, at, problems), ownership(variables))
    return EditPlan(_unique([(targets.get(name, name), name) for name in variables], at, problems))


def copy(variables: Mapping[str, Any], only: Sequence[str], pairs: Sequence[tuple[str, str]], at: str) -> EditPlan:
    """Plan a checkpoint of all or some variables, some of them under a second name too.

    Args:
        variables: shape and dtype by name.
        only: names or expressions of the variables to keep under their own names; all if empty.
        pairs: names and their second names, as for ``rename``.
        at: argument to report in problems.

    Raises:
        CheckpointError: with every argument that matches nothing and every name that would occur twice.
    """
    problems: list[Problem] = []
    kinds = ownership(variables)
    kept = _names_and_owned(_selected(variables, only, at, problems), kinds) if only else set(variables)
    targets = _with_owned(_targets(variables, pairs, at, problems), kinds)
    moves = [(name, name) for name in variables if name in kept]
    sources = _unique([*moves, *((target, name) for name, target in targets.items())], at, problems)
    return EditPlan(sources, _unread(variables, sources))


def remove(variables: Mapping[str, Any], selectors: Sequence[str], at: str) -> EditPlan:
    """Plan a checkpoint without some variables.

    Raises:
        CheckpointError: with every selector that matches nothing, or because nothing would be left.
    """
    dropped = _names_and_owned(select(variables, selectors, at), ownership(variables))
    if len(dropped) == len(variables):
        raise CheckpointError.at(at, f"nothing would be left of the {len(variables)} variables")
    sources = {name: name for name in variables if name not in dropped}
    return EditPlan(sources, _unread(variables, sources))


def bake(variables: Mapping[str, Any], at: str) -> EditPlan:
    """Plan a checkpoint that holds EMA values under the variables' names; a variable without an EMA keeps its value.

    Raises:
        CheckpointError: there is no EMA variable.
    """
    end, found = ema_name(""), owned(variables)
    if found.several_emas:
        raise CheckpointError(
            *(
                Problem(at, f"'{name}' has several EMA: {comma_list(names)}; remove all but one")
                for name, names in found.several_emas.items()
            )
        )
    kinds = ownership(variables)
    emas = {name.removesuffix(end): name for name in variables if name.endswith(end) and kinds[name].owner is None}
    emas |= found.emas
    if not emas:
        raise CheckpointError.at(at, f"holds no EMA: no name ends in {end}; names: {comma_list(variables)}")
    kept = [name for name in variables if end not in name and name not in emas]
    sources = {name: emas.get(name, name) for name in sorted([*emas, *kept])}
    return EditPlan(sources, _unread(variables, sources))


def same_variables(files: Mapping[str, Mapping[str, TensorSpec]], at: str) -> None:
    """Check that all files hold the same names, shapes and dtypes.

    Args:
        files: variables by file.
        at: argument to report in problems.

    Raises:
        CheckpointError: with every difference.
    """
    (first, expected), *others = files.items()
    problems = []
    for file, variables in others:
        problems += [Problem(at, f"{file} lacks '{name}', which {first} has") for name in expected.keys() - variables]
        problems += [Problem(at, f"{file} has '{name}', which {first} lacks") for name in variables.keys() - expected]
        problems += [
            Problem(at, f"'{name}' is {spec} in {first}, {variables[name]} in {file}")
            for name, spec in expected.items()
            if name in variables and variables[name] != spec
        ]
    if problems:
        raise CheckpointError(*sorted(problems, key=str))


def names_without_mean(variables: Mapping[str, TensorSpec]) -> set[str]:
    """Return the names of counters, states and variables without fractions: an average takes their last value."""
    kinds = ownership(variables)
    return {
        name
        for name, spec in variables.items()
        if spec.dtype.startswith(_DTYPES_WITHOUT_MEAN) or kinds[name].kind in ("counter", "state")
    }


def select(variables: Iterable[str], selectors: Sequence[str], at: str) -> list[str]:
    """Return the names that exact names or regular expressions select, in the order of the variables.

    Raises:
        CheckpointError: with every selector that matches nothing.
    """
    problems: list[Problem] = []
    found = _selected(list(variables), selectors, at, problems)
    if problems:
        raise CheckpointError(*problems)
    return found


def _selected(variables: Iterable[str], selectors: Sequence[str], at: str, problems: list[Problem]) -> list[str]:
    names = list(variables)
    found = {name for selector in selectors for name in _matches(selector, "", names, at, problems)}
    return [name for name in names if name in found]


def _matches(selector: str, to: str, names: Iterable[str], at: str, problems: list[Problem]) -> dict[str, str]:
    """Return the names that a selector matches, each with ``to`` after expansion of its groups."""
    if selector in names:
        return {selector: to}
    try:
        matches = {name: re.fullmatch(selector, name) for name in names}
        found = {name: match.expand(to) for name, match in matches.items() if match}
    except (re.error, IndexError) as error:
        rule = f"'{selector}' -> '{to}'" if to else f"'{selector}'"
        problems.append(Problem(at, f"{rule} is not a valid regular expression: {error}"))
        return {}
    if not found:
        problems.append(Problem(at, unknown(f"'{selector}' matches no name", selector, names, label="names")))
    return found


def _targets(
    variables: Mapping[str, Any], pairs: Sequence[tuple[str, str]], at: str, problems: list[Problem]
) -> dict[str, str]:
    """Return the new names of the variables that a pair matches."""
    targets: dict[str, str] = {}
    by: dict[str, str] = {}
    for selector, to in sorted(pairs, key=lambda pair: pair[0] not in variables):  # Exact names first: they win.
        for name, target in _matches(selector, to, variables, at, problems).items():
            if not target:
                problems.append(Problem(at, f"'{name}' would have an empty name, by '{selector}'"))
            elif name not in targets:
                targets[name], by[name] = target, selector
            elif targets[name] != target and (selector == name or by[name] != name):
                both = f"'{targets[name]}' by '{by[name]}' and '{target}' by '{selector}'"
                problems.append(Problem(at, f"'{name}' would be {both}; keep one"))
    return targets


def _owner_chain(name: str, kinds: Mapping[str, Ownership]) -> Iterator[str]:
    """Yield a name, its owner, the owner's owner ..."""
    owner: str | None = name
    while owner is not None:
        yield owner
        owner = kinds[owner].owner


def _with_owned(targets: Mapping[str, str], kinds: Mapping[str, Ownership]) -> dict[str, str]:
    """Return new names, with those of slots, EMA variables and counters whose owner is renamed."""
    found = dict(targets)
    for last in kinds:
        chain = list(_owner_chain(last, kinds))
        for name, owner in reversed(list(pairwise(chain))):
            if name not in found and owner in found:
                found[name] = renamed_with_owner(name, owner, found[owner])
    return found


def _names_and_owned(names: Iterable[str], kinds: Mapping[str, Ownership]) -> set[str]:
    """Return names with those of their slots, EMA variables and counters."""
    found = set(names)
    return found | {name for name in kinds if found.intersection(_owner_chain(name, kinds))}


def _unread(variables: Iterable[str], sources: Mapping[str, str]) -> tuple[str, ...]:
    read = set(sources.values())
    return tuple(name for name in variables if name not in read)


def _unique(moves: Iterable[tuple[str, str]], at: str, problems: list[Problem]) -> dict[str, str]:
    """Return the old names by new name.

    Raises:
        CheckpointError: with the problems found before, and every new name that would occur twice.
    """
    sources: dict[str, list[str]] = {}
    for name, source in moves:
        sources.setdefault(name, []).append(source)
    problems += [
        Problem(at, f"{' and '.join(map(repr, names))} would both be '{name}'; give one of them another name")
        for name, names in sources.items()
        if len(names) > 1
    ]
    if problems:
        raise CheckpointError(*problems)
    return {name: source for name, (source,) in sources.items()}

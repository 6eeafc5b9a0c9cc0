"""The restore plan: which name in a checkpoint goes into which variable, worked out without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from expkit.config.schema import RenameRule
from expkit.errors import CheckpointError, Problem, did_you_mean, listed
from expkit.network.names import shadow_name

__all__ = ["Pair", "Plan", "restore_plan"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """One variable and where its value comes from."""

    variable: str
    source: str
    """Name in the checkpoint."""
    weights: Literal["raw", "ema"]
    """Whether the source is an average."""


@dataclass(frozen=True)
class Plan:
    """What a restore will do."""

    pairs: tuple[Pair, ...]
    kept_initial: tuple[str, ...]
    """Variables that keep their initial values, as asked."""
    spare: tuple[str, ...]
    """Names in the checkpoint that nothing reads."""


def restore_plan(
    wanted: Mapping[str, Shape],
    available: Mapping[str, Shape],
    *,
    weights: Literal["raw", "ema"] = "raw",
    averaged: Collection[str] = (),
    shadows: Collection[str] = (),
    rename: Sequence[RenameRule] = (),
    keep_initial: Sequence[str] = (),
    at: str = "restore",
) -> Plan:
    """Return the plan that gives every wanted variable a value.

    The rules are a true map: a name that a rule sends elsewhere no longer stands for itself, so two names can be
    swapped; one name may go to several variables.

    Args:
        wanted: shapes of the network's variables, by name.
        available: shapes in the checkpoint, by name.
        weights: ``ema`` takes the average of every variable that has one in the checkpoint.
        averaged: variables whose average must be in the checkpoint when ``weights`` is ``ema``.
        shadows: variables whose averages are wanted too, where the checkpoint has them.
        rename: rules, in order.
        keep_initial: regular expressions over variables that are left out.
        at: path in the configuration, for problems.

    Raises:
        CheckpointError: with every rule that matches nothing, collision, missing value and difference in shape.
    """
    problems: list[Problem] = []
    kept = _kept(wanted, keep_initial, at, problems)
    sources = _sources([name for name in wanted if name not in kept], available, rename, at, problems)
    pairs = []
    for variable, shape in wanted.items():
        if variable in kept:
            continue
        source = sources.get(variable)
        if source is None:
            problems.append(Problem(at, _missing(variable, available)))
            continue
        shadow = shadow_name(source)
        use_shadow = weights == "ema" and shadow in available
        if weights == "ema" and variable in averaged and not use_shadow:
            problems.append(
                Problem(
                    at,
                    f"variable '{variable}' has no average in the checkpoint: '{shadow}' is absent; "
                    "set weights to raw, or leave the variable out of ema.variables",
                )
            )
            continue
        name = shadow if use_shadow else source
        if name not in available:
            problems.append(Problem(at, _missing(variable, available)))
            continue
        own = [Pair(variable, name, "ema" if use_shadow else "raw")]
        if variable in shadows and shadow in available:
            own.append(Pair(shadow_name(variable), shadow, "ema"))
        problems += [
            Problem(
                at,
                f"variable '{pair.variable}' has shape {list(shape)}, '{pair.source}' in the checkpoint has "
                f"{list(available[pair.source])}; make the network fit, or add '{variable}' to keep_initial",
            )
            for pair in own
            if tuple(available[pair.source]) != tuple(shape)
        ]
        pairs += own
    if problems:
        raise CheckpointError(*problems)
    read = {pair.source for pair in pairs}
    return Plan(tuple(pairs), tuple(kept), tuple(name for name in available if name not in read))


def _kept(wanted: Mapping[str, Shape], patterns: Sequence[str], at: str, problems: list[Problem]) -> list[str]:
    kept: list[str] = []
    for pattern in patterns:
        try:
            found = [name for name in wanted if re.fullmatch(pattern, name)]
        except re.error as error:
            problems.append(Problem(f"{at}.keep_initial", f"'{pattern}' is no regular expression: {error}"))
            continue
        if not found:
            near = did_you_mean(pattern, wanted) or ";"
            problems.append(
                Problem(f"{at}.keep_initial", f"'{pattern}' matches no variable{near} variables: {listed(wanted)}")
            )
        kept += found
    return list(dict.fromkeys(kept))


def _sources(
    wanted: Sequence[str],
    available: Mapping[str, Shape],
    rename: Sequence[RenameRule],
    at: str,
    problems: list[Problem],
) -> dict[str, str]:
    """Return the checkpoint's name for every variable that gets one."""
    sources: dict[str, str] = {}
    by_rule: dict[str, int] = {}
    moved: set[str] = set()
    for place, rule in enumerate(rename):
        where = f"{at}.rename[{place}]"
        targets = _targets(rule, available, where, problems)
        if targets is None:
            continue
        reached = {source: target for source, target in targets.items() if target in wanted}
        if not targets:
            word = rule.name if rule.name is not None else rule.pattern
            near = did_you_mean(str(word), available) or ";"
            problems.append(
                Problem(where, f"'{word}' matches no name in the checkpoint{near} names: {listed(available)}")
            )
        elif not reached:
            target = next(iter(targets.values()))
            near = did_you_mean(target, wanted) or ";"
            problems.append(Problem(where, f"'{target}' is no variable to restore{near} variables: {listed(wanted)}"))
        for source, target in targets.items():
            moved.add(source)
            if target not in reached.values():
                continue
            if target in sources:
                problems.append(
                    Problem(
                        where,
                        f"variable '{target}' would get both '{sources[target]}' (rename[{by_rule[target]}]) "
                        f"and '{source}'; keep one",
                    )
                )
            else:
                sources[target], by_rule[target] = source, place
    for name in wanted:
        if name not in sources and name not in moved and (name in available or shadow_name(name) in available):
            sources[name] = name
    return sources


def _targets(
    rule: RenameRule, available: Mapping[str, Shape], where: str, problems: list[Problem]
) -> dict[str, str] | None:
    """Return what a rule says of the checkpoint's names; ``None`` when the rule itself is wrong."""
    if rule.name is not None:
        return {rule.name: rule.to} if rule.name in available or shadow_name(rule.name) in available else {}
    try:
        matches = {name: re.fullmatch(str(rule.pattern), name) for name in available}
        return {name: match.expand(rule.to) for name, match in matches.items() if match}
    except (re.error, IndexError) as error:
        problems.append(Problem(where, f"'{rule.pattern}' -> '{rule.to}' is no regular expression rule: {error}"))
        return None


def _missing(variable: str, available: Mapping[str, Shape]) -> str:
    near = did_you_mean(variable, (name for name in available if name != variable)) or ";"
    return (
        f"variable '{variable}' gets no value from the checkpoint{near} names: {listed(available)}; "
        "add a rename rule, or add the variable to keep_initial"
    )

"""The output of ``restore-plan --suggest``: rename rules as a section to paste, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from expkit.checkpoints.matching.match import Suggestion, suggest
from expkit.checkpoints.matching.rules_yaml import (
    keep_initial_patterns,
    restore_section,
    suggested_rules,
    suggestion_as_json,
)
from expkit.checkpoints.restore.plan import OpenedCheckpoint, Plan
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.rules import matching_names
from expkit.checkpoints.restore.targets import restore_targets
from expkit.errors import ConfigError, Problem, comma_list, limit_problems
from expkit.preflight import CheckedConfig
from expkit.tensor_spec import TensorSpec

__all__ = ["print_suggestion"]


def print_suggestion(checked: CheckedConfig, checkpoints: Sequence[OpenedCheckpoint], *, as_json: bool) -> int:
    """Print rules for the variables that must get a value; return the exit code.

    Returns:
        0: the rules are certain and make a complete plan; 1: something is missing, or a guess.

    Raises:
        ConfigError: the configuration has rules already, or names several files.
    """
    section, spec = checked.config.restore, checked.spec
    given = {"rename": section.rename, "sources": section.sources}
    problems = [
        Problem(f"restore.{field}", "--suggest finds the rules for one file by itself; leave this out")
        for field, value in given.items()
        if value
    ]
    if problems:
        raise ConfigError(*problems)
    (checkpoint,) = checkpoints
    names = checkpoint.variables
    kept = {name for pattern in section.keep_initial for name in matching_names(pattern, spec.variables)}
    variables = {name: variable.spec for name, variable in spec.variables.items() if name not in kept}
    suggestion = suggest(_included(checkpoint), variables)
    plan = _plan(checked, checkpoint, suggestion)
    certain = suggestion.certain and plan.complete
    if as_json:
        content = suggestion_as_json(suggestion, names, section.keep_initial)
        print(json.dumps({"complete": certain, **content}, indent=2))
    else:
        print("\n".join(_lines(suggestion, plan, checkpoint, section.keep_initial)))
    return int(not certain)


def _included(checkpoint: OpenedCheckpoint) -> dict[str, TensorSpec]:
    names = dict(checkpoint.variables)
    if checkpoint.config.include:
        names = {name: names[name] for pattern in checkpoint.config.include for name in matching_names(pattern, names)}
    excluded = {name for pattern in checkpoint.config.exclude for name in matching_names(pattern, names)}
    return {name: spec for name, spec in names.items() if name not in excluded}


def _plan(checked: CheckedConfig, checkpoint: OpenedCheckpoint, suggestion: Suggestion) -> Plan:
    """Return the plan of the configuration with the suggested rules."""
    with_rules = checkpoint.config.model_copy(update={"rename": suggested_rules(suggestion)})
    missing = keep_initial_patterns(suggestion.missing, list(checked.spec.variables))
    keep_initial = [*checked.config.restore.keep_initial, *missing]
    return restore_plan(restore_targets(checked), [replace(checkpoint, config=with_rules)], keep_initial)


def _lines(
    suggestion: Suggestion, plan: Plan, checkpoint: OpenedCheckpoint, keep_initial: Sequence[str]
) -> Iterator[str]:
    certain = [proposal for proposal in suggestion.proposals if proposal.confidence == "high"]
    same, high = sum(proposal.source == proposal.variable for proposal in certain), len(certain)
    counts = f"{high} certain ({same} by the same name), {len(suggestion.proposals) - high} ambiguous"
    total = len(suggestion.proposals) + len(suggestion.missing)
    yield f"# {checkpoint.source.path}: {total} variables: {counts}, {len(suggestion.missing)} missing"
    if suggestion.unused:
        yield f"# not used: {comma_list(suggestion.unused, 8)}"
    yield restore_section(suggestion, checkpoint.variables, keep_initial) or "# no rule is needed"
    if suggestion.certain:
        problems = limit_problems([issue.problem for issue in plan.issues])
        yield from (f"# still incomplete: {problem}" for problem in problems)

"""What ``restore-plan --suggest`` prints: the rename map that is found, as a section to paste or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from expkit.checkpoints.matching.match import Made, Suggestion, suggest
from expkit.checkpoints.matching.rules_yaml import as_plain, keep_initial_patterns, rules_of, section
from expkit.checkpoints.restore.plan import Offer, Plan
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.rules import matching
from expkit.checkpoints.restore.targets import wanted_by
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem, comma_list, limit_problems
from expkit.network.spec import NetworkSpec

__all__ = ["print_suggestion"]


def print_suggestion(config: Config, spec: NetworkSpec, offers: Sequence[Offer], *, as_json: bool) -> int:
    """Print what is suggested for the variables that are to get a value; return the exit code.

    Returns:
        0: the rules are certain and make a complete plan; 1: something is missing, or a guess.

    Raises:
        ConfigError: the configuration has rules already, or names several files.
    """
    asked = config.restore
    given = {"rename": asked.rename, "sources": asked.sources}
    problems = [
        Problem(f"restore.{field}", "--suggest finds the rules for one file by itself; leave this out")
        for field, value in given.items()
        if value
    ]
    if problems:
        raise ConfigError(*problems)
    (offer,) = offers
    kept = {name for pattern in asked.keep_initial for name in matching(pattern, spec.variables)}
    suggestion = suggest(
        _taken(offer),
        {name: Made(its.shape, its.dtype) for name, its in spec.variables.items() if name not in kept},
    )
    plan = _plan(config, spec, offer, suggestion)
    certain = suggestion.certain and plan.complete
    if as_json:
        print(json.dumps({"complete": certain, **as_plain(suggestion, offer.shapes, asked.keep_initial)}, indent=2))
    else:
        print("\n".join(_told(suggestion, plan, offer, asked.keep_initial)))
    return int(not certain)


def _taken(offer: Offer) -> dict[str, Made]:
    names = dict(offer.shapes)
    if offer.asked.include:
        names = {name: names[name] for pattern in offer.asked.include for name in matching(pattern, names)}
    out = {name for pattern in offer.asked.exclude for name in matching(pattern, names)}
    return {name: Made(tuple(shape), offer.dtypes[name]) for name, shape in names.items() if name not in out}


def _plan(config: Config, spec: NetworkSpec, offer: Offer, suggestion: Suggestion) -> Plan:
    """Return the plan that the configuration would make with what is suggested."""
    with_rules = offer.asked.model_copy(update={"rename": rules_of(suggestion)})
    missing = keep_initial_patterns(suggestion.missing, list(spec.variables))
    new = Offer(offer.at, offer.file, offer.shapes, offer.dtypes, with_rules)
    return restore_plan(wanted_by(config, spec), [new], [*config.restore.keep_initial, *missing])


def _told(suggestion: Suggestion, plan: Plan, offer: Offer, keep_initial: Sequence[str]) -> Iterator[str]:
    certain = [proposal for proposal in suggestion.proposals if proposal.sure == "high"]
    same, high = sum(proposal.source == proposal.variable for proposal in certain), len(certain)
    yield f"# {offer.file}: of {len(suggestion.proposals) + len(suggestion.missing)} variables {high} are certain " + (
        f"({same} by their own name), {len(suggestion.proposals) - high} a guess, {len(suggestion.missing)} not there"
    )
    if suggestion.spare:
        yield f"# not used: {comma_list(suggestion.spare, 8)}"
    yield section(suggestion, offer.shapes, keep_initial) or "# no rule is needed"
    if suggestion.certain:
        yield from (f"# still incomplete: {problem}" for problem in limit_problems([gap.problem for gap in plan.gaps]))

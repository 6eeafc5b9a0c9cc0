"""The verb ``restore-plan``, which shows the result of a restore before any value is loaded."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from expkit.checkpoints.restore.plan import Assignment, Plan
from expkit.checkpoints.restore.restore import configured_plan, open_checkpoints, plan_as_json
from expkit.checkpoints.restore.rules import primary_names
from expkit.cli.columns import columns
from expkit.config.source_lines import locate_problems
from expkit.errors import Problem, comma_list, limit_problems
from expkit.network.names import ema_name, is_state
from expkit.network.spec import NetworkSpec
from expkit.preflight import load_checked, named

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "restore-plan",
        help="show what a restore would load",
        description="Show the value that a restore would load into each variable, and what is missing, without loading "
        "any. Exit code 0: the plan is complete; 1: it is incomplete, and the reasons are printed; 2: a mistake in the "
        "arguments. With --suggest, find the rules; exit code 0: they are certain and make a complete plan; 1: "
        "something is missing, or a guess.",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: restore.from=old/model"
    )
    parser.add_argument("--suggest", action="store_true", help="find the rules, and print a restore section to paste")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_restore_plan)


def _restore_plan(given: argparse.Namespace) -> int:
    checked = load_checked(given.overrides, given.config_dir, by=named)
    checkpoints = open_checkpoints(checked)
    if given.suggest:
        from expkit.cli.restore_suggest import print_suggestion

        return print_suggestion(checked, checkpoints, as_json=given.json)
    plan = configured_plan(checked, checkpoints)
    found = [issue.problem for issue in plan.issues]
    problems = locate_problems(found, given.overrides, given.config_dir) if found else []
    if given.json:
        print(json.dumps(_as_json(plan, problems), indent=2))
    else:
        _print(plan, checked.spec, problems)
    return int(not plan.complete)


def _as_json(plan: Plan, problems: Sequence[Problem]) -> dict[str, Any]:
    issues = [
        {
            "kind": issue.kind,
            "about": issue.about,
            "path": problem.path,
            "place": problem.location,
            "message": problem.message,
        }
        for issue, problem in zip(plan.issues, problems, strict=True)
    ]
    unused = {at: list(names) for at, names in plan.unused.items()}
    return {"complete": plan.complete, **plan_as_json(plan), "spare": unused, "gaps": issues}


def _print(plan: Plan, spec: NetworkSpec, problems: Sequence[Problem]) -> None:
    several = len(plan.files) > 1
    changed = any(assignment.changes for assignment in plan.assignments)
    optional = [*(["file"] if several else []), *(["change"] if changed else [])]
    rows = [["variable", "shape", "from", "weights", "rule", *optional]]
    assignments = {assignment.variable: assignment for assignment in plan.assignments}
    for name, variable in spec.variables.items():
        cells = [name, str(list(variable.shape))]
        if name in assignments:
            cells += _cells(assignments[name], several=several)
        else:
            cells += [_reason(name, plan)]
        rows.append([*cells, *[""] * len(rows[0])][: len(rows[0])])
    print("\n".join([*columns(rows), *_summary(plan, problems)]))


def _cells(assignment: Assignment, *, several: bool) -> list[str]:
    sources = " + ".join(source.removesuffix(ema_name("")) for source in assignment.sources)
    file = [assignment.checkpoint] if several else []
    return [sources, assignment.weights, assignment.origin.rule, *file, assignment.changes]


def _reason(name: str, plan: Plan) -> str:
    """Return the reason why a variable gets no value."""
    if name in plan.skipped:
        return f"(shape differs: {plan.skipped[name]})"
    return "(initial value)" if name in plan.kept_initial else "NO VALUE"


def _summary(plan: Plan, problems: Sequence[Problem]) -> Iterator[str]:
    """Yield the lines below the table."""
    yield ""
    yield from (f"{at}: {file}" for at, file in plan.files.items())
    rules = Counter(assignment.origin.without_note for assignment in plan.assignments)
    yield from (f"{rule}: {count} value{'s' * (count != 1)}" for rule, count in sorted(rules.items()))
    words = {"average": "EMA variables", "slot": "optimizer slots", "counter": "counters", "state": "states"}
    for role, word in words.items():
        if count := sum(assignment.role == role for assignment in plan.assignments):
            yield f"{word}: {count}"
    if zeros := [name for name in (*plan.kept_initial, *plan.skipped) if is_state(name)]:
        yield f"states that start with zeros: {comma_list(zeros, 8)}"
    for at, names in plan.unused.items():
        if names:
            yield f"{at}: {len(names)} not read: {comma_list(primary_names(names) or names, 8)}"
    if plan.complete:
        yield f"complete: {plan.loaded} variables get a value"
    else:
        yield f"incomplete: {plan.loaded} variables get a value"
        yield from (f"  {problem}" for problem in limit_problems(problems))

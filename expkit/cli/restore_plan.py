"""The verb ``restore-plan``: what a restore will do, before anything is loaded."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from expkit.checkpoints.restore.plan import Plan
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.receipt import as_plain
from expkit.checkpoints.restore.restore import open_sources
from expkit.checkpoints.restore.rules import first_names
from expkit.checkpoints.restore.targets import wanted_by
from expkit.config.source_lines import locate_problems
from expkit.errors import Problem, comma_list, limit_problems
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec
from expkit.preflight import load_checked, named

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "restore-plan",
        help="show what a restore will do",
        description="Show which value of a checkpoint goes into which variable, and what is missing, without loading "
        "any. Exit code 0: the plan is complete; 1: it is not, and says why; 2: a mistake to mend. With --suggest, "
        "find the rules; exit code 0: they are certain and make a complete plan; 1: something is missing, or a guess.",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: restore.from=old/model"
    )
    parser.add_argument("--suggest", action="store_true", help="find the rules, and print the restore section to paste")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_restore_plan)


def _restore_plan(given: argparse.Namespace) -> int:
    checked = load_checked(given.overrides, given.config_dir, by=named)
    config, spec = checked.config, checked.spec
    opened = open_sources(config)
    if given.suggest:
        from expkit.cli.restore_suggest import print_suggestion

        return print_suggestion(config, spec, opened.offers, as_json=given.json)
    plan = restore_plan(wanted_by(config, spec), opened.offers, config.restore.keep_initial)
    problems = (
        locate_problems([gap.problem for gap in plan.gaps], given.overrides, given.config_dir) if plan.gaps else []
    )
    if given.json:
        print(json.dumps(_as_json(plan, problems), indent=2))
    else:
        _print(plan, spec, problems)
    return int(not plan.complete)


def _as_json(plan: Plan, problems: Sequence[Problem]) -> dict[str, Any]:
    gaps = [
        {"kind": gap.kind, "about": gap.about, "path": told.path, "place": told.location, "message": told.message}
        for gap, told in zip(plan.gaps, problems, strict=True)
    ]
    spare = {at: list(names) for at, names in plan.spare.items()}
    return {"complete": plan.complete, **as_plain(plan), "spare": spare, "gaps": gaps}


def _print(plan: Plan, spec: NetworkSpec, problems: Sequence[Problem]) -> None:
    several = len(plan.files) > 1
    changed = any(pair.changes for pair in plan.pairs)
    optional = [*(["file"] if several else []), *(["change"] if changed else [])]
    columns = ["variable", "shape", "from", "weights", "rule", *optional]
    table = Table(*(Column(name, overflow="fold") for name in columns), box=None, header_style="bold")
    pairs = {pair.variable: pair for pair in plan.pairs}
    for name, variable in spec.variables.items():
        pair = pairs.get(name)
        cells = [name, str(list(variable.shape))]
        if pair is None:
            cells += [_why(name, plan)]
        else:
            cells += [" + ".join(source.removesuffix(ema_name("")) for source in pair.sources), pair.weights]
            cells += [pair.origin.rule]
            cells += [pair.offer] if several else []
            cells += [pair.changes] if changed else []
        table.add_row(*map(escape, cells))
    console = Console()
    console.print(table)
    for line in _rest(plan, problems):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _why(name: str, plan: Plan) -> str:
    """Return why a variable gets no value."""
    if name in plan.skipped:
        return f"(shape differs: {plan.skipped[name]})"
    return "(initial value)" if name in plan.kept_initial else "NO VALUE"


def _rest(plan: Plan, problems: Sequence[Problem]) -> Iterator[str]:
    """Yield what is told below the table."""
    yield ""
    yield from (f"{at}: {file}" for at, file in plan.files.items())
    rules = Counter(pair.origin.without_note for pair in plan.pairs)
    yield from (f"{rule}: {count} value{'s' * (count != 1)}" for rule, count in sorted(rules.items()))
    for role, word in (("average", "EMA variables"), ("slot", "optimizer slots"), ("counter", "counters")):
        if count := sum(pair.role == role for pair in plan.pairs):
            yield f"{word}: {count}"
    for at, names in plan.spare.items():
        if names:
            yield f"{at}: {len(names)} not read: {comma_list(first_names(names) or names, 8)}"
    if plan.complete:
        yield f"complete: {plan.loaded} variables get a value"
    else:
        yield f"incomplete: {plan.loaded} variables get a value"
        yield from (f"  {problem}" for problem in limit_problems(problems))

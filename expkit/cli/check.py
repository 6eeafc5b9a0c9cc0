"""The verb ``check``: whether a configuration can train, and an edit would orphan values in checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expkit.checkpoints.matching.lock import LOCK_FILE, LockDiff, diff_lock, read_lock
from expkit.config.load import compose_plain
from expkit.config.source_lines import locating_problems
from expkit.preflight import check_composed, check_here, load_network

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "check",
        help="find every mistake of a configuration, and names that would orphan checkpoints",
        description="Check a configuration as `expkit train` does before it reads data, and compare the network's "
        "variables with the lock that `expkit names --lock` wrote, if there is one. With --lock only the variables are "
        "checked, whatever is to be trained of the network. Exit code 0: every value in earlier checkpoints still has "
        "its variable; 1: some are orphans, and the rules that restore them are printed; 2: a mistake in the "
        "configuration.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: network=siamese")
    parser.add_argument("--lock", metavar="FILE", help=f"the lock; default: {LOCK_FILE}, where it exists")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_check)


def _check(given: argparse.Namespace) -> int:
    path = Path(given.lock or LOCK_FILE)
    if given.lock is None:
        with locating_problems(given.overrides, given.config_dir):
            composed = compose_plain(given.overrides, given.config_dir)
            spec = check_composed(composed, given.config_dir, by=check_here).spec
        hydra = composed.hydra
        if hydra.runtime.choices.get("sweep") or hydra.sweeper.get("params"):
            from expkit.runs.sweep_plan import plan_sweep

            plan = plan_sweep(given.overrides, given.config_dir)
            print(f"{plan.name}: {plan.total} runs, of which {len(plan.jobs)} are checked")
        if not path.exists():
            print(
                f"no mistake found: {len(spec.variables)} variables, {len(spec.trainable)} trained\n"
                f"{path}: none, so names are not compared; expkit names --lock writes it"
            )
            return 0
        lock = read_lock(path)
    else:
        lock = read_lock(path)
        spec = load_network(given.overrides, given.config_dir)
    diff = diff_lock(lock, spec)
    print("\n".join(_lines(diff, path, len(spec.variables))))
    return int(diff.orphans)


def _lines(diff: LockDiff, path: Path, count: int) -> Iterator[str]:
    if not (diff.orphans or diff.new):
        yield f"{path}: all {count} variables as locked"
        return
    orphans = len(diff.gone) + len(diff.changed)
    if orphans:
        yield f"{path}: this edit would orphan {orphans} of the values in earlier checkpoints"
    else:
        yield f"{path}: {len(diff.new)} new; every value in earlier checkpoints still has its variable"
    yield from (f"  gone     {name} {spec}" for name, spec in diff.gone.items())
    yield from (f"  changed  {name} {before}, now {now}" for name, (before, now) in diff.changed.items())
    yield from (f"  new      {name} {spec}" for name, spec in diff.new.items())
    if section := diff.restore_section:
        yield from ("", "to restore earlier checkpoints (restore.from names the checkpoint):", "", section)
    yield from ("", "if the edit is intended, write the lock again: expkit names --lock")

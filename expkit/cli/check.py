"""The verb ``check``: whether an edit would orphan checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expkit.checkpoints.matching.lock import LOCK_FILE, Change, as_made, compare, mend, read_lock
from expkit.preflight import load_network

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "check",
        help="fail where an edit would orphan checkpoints",
        description="Compare the network's variables with the lock that `expkit names --lock` wrote. Exit code 0: "
        "every value of a checkpoint made before still has its variable; 1: some are orphans, and the rule that mends "
        "it is printed; 2: a mistake to mend.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: network=siamese")
    parser.add_argument("--lock", metavar="FILE", default=LOCK_FILE, help=f"the lock; {LOCK_FILE} when not given")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_check)


def _check(given: argparse.Namespace) -> int:
    path = Path(given.lock)
    lock = read_lock(path)
    spec = load_network(given.overrides, given.config_dir)
    change = compare(lock, as_made(spec))
    print("\n".join(_told(change, path, len(spec.variables))))
    return int(change.orphans)


def _told(change: Change, path: Path, count: int) -> Iterator[str]:
    if not (change.orphans or change.new):
        yield f"{path}: all {count} variables as locked"
        return
    lost = len(change.gone) + len(change.changed)
    if lost:
        yield f"{path}: this edit would orphan {lost} of the values in checkpoints made before it"
    else:
        yield f"{path}: {len(change.new)} new; every value in checkpoints made before still has its variable"
    yield from (f"  gone     {name} {made}" for name, made in change.gone.items())
    yield from (f"  changed  {name} {was}, now {now}" for name, (was, now) in change.changed.items())
    yield from (f"  new      {name} {made}" for name, made in change.new.items())
    if section := mend(change):
        yield from ("", "what restores them (restore.from names the checkpoint):", "", section)
    yield from ("", "if the edit is meant, write the lock again: expkit names --lock")

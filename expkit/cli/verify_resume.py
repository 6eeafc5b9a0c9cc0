"""The verb ``verify-resume``: the proof that a resumed run ends the same as an unbroken one, bit for bit."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from expkit.checkpoints.diff import CheckpointDiff, diff_variables
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.data.derived import schedules_follow_steps
from expkit.errors import ConfigError, ExpkitError, Problem, comma_list
from expkit.fs import cannot_write
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec
from expkit.preflight import load_checked
from expkit.run_folder import RunFolder

__all__ = ["add_verbs"]


def add_verbs(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "verify-resume",
        help="prove that a resumed run ends the same, bit for bit",
        description="Train 2N steps in one process, and N steps and N more in another; compare every variable, EMA "
        "and slot. Exit code 0: all are equal, bit for bit; 1: some differ, and are listed; 2: a mistake to fix. "
        "Nothing is recorded in MLflow.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: experiment=siamese")
    parser.add_argument("--at", type=int, required=True, metavar="N", help="the step at which the run stops")
    parser.add_argument("--folder", metavar="PATH", help="empty folder that keeps both runs; default: a temporary one")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_verify)


def _verify(given: argparse.Namespace) -> int:
    steps = given.at
    if steps < 1:
        raise ConfigError.at("--at", f"needs at least 1 step, got {steps}")
    checked = load_checked(given.overrides, given.config_dir)
    if schedules_follow_steps(checked.config):
        message = "a schedule spans all steps (its decay_steps is null), whose number differs between the runs"
        raise ConfigError.at("--at", f"{message}; give it a number of decay_steps")
    spec = checked.spec
    with _training_folder(given.folder) as folder:
        train = _Trainer(folder, given.overrides, given.config_dir)
        whole = train("whole", "++train.epochs=null", f"train.steps={2 * steps}")
        execution = whole.state()["execution"]["execution"]
        # A resumed run keeps them, too.
        kept = [f"train.{name}={json.dumps(execution[name])}" for name in ("jit_compile", "parallelism")]
        kept += ["++train.epochs=null"]
        train("halves", *kept, f"train.steps={steps}")
        halves = train("halves", *kept, f"train.steps={2 * steps}", f"run.resume={json.dumps(str(folder / 'halves'))}")
        first, second = (_last(run) for run in (whole, halves))
        found = diff_variables(first, second, dict.fromkeys([*first.variables, *second.variables]))
        print(f"{2 * steps} steps in one process; {steps} steps, and {steps} more in another")
        _print(found, first, spec)
        return int(found.differs)


class _Trainer:
    """Trains in separate processes, under one folder."""

    def __init__(self, folder: Path, overrides: Sequence[str], config_dirs: Sequence[str]) -> None:
        self._folder = folder
        self._arguments = [*(word for name in config_dirs for word in ("--config-dir", name)), *overrides]

    def __call__(self, name: str, *overrides: str) -> RunFolder:
        """Train, and return the run.

        Raises:
            ExpkitError: training failed, with its messages.
        """
        run = self._folder / name
        off = ("tracking.enabled=false", "tracking.plots=false", "tracking.register=null", "export.enabled=false")
        own = [f"++{word}" for word in ("run.resume=null", *off)]  # ++: the user's files may lack the key
        folders = (f"run.folder={json.dumps(str(self._folder))}", f"hydra.run.dir={json.dumps(str(run))}")
        arguments = [*self._arguments, *own, *folders, *overrides]
        command = [sys.executable, "-m", "expkit", "train", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            messages = [line.removeprefix("error: ") for line in done.stderr.splitlines()]
            raise ExpkitError(
                *(Problem("", line) for line in messages or [f"training failed with exit code {done.returncode}"])
            )
        return RunFolder(run)


@contextmanager
def _training_folder(folder: str | None) -> Iterator[Path]:
    """Yield the requested folder, which must be empty, or a temporary one.

    Raises:
        ConfigError: it is not empty, or cannot be created.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="expkit-verify-") as name:
            yield Path(name)
        return
    path = Path(folder).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        empty = not any(path.iterdir())
    except OSError as error:
        raise ConfigError.at("--folder", cannot_write(folder, error)) from None
    if not empty:
        raise ConfigError.at("--folder", f"{folder} is not empty; give a new folder")
    yield path


def _last(run: RunFolder) -> VariableSource:
    return open_variables(run.path, str(run.path))


def _print(found: CheckpointDiff, first: VariableSource, spec: NetworkSpec) -> None:
    ema_names = {ema_name(name) for name in spec.variables}
    groups: dict[str, list[str]] = {"variables": [], "EMA": [], "slots and steps": [], "state": []}
    group_of = dict.fromkeys(spec.variables, "variables") | dict.fromkeys(ema_names, "EMA")
    group_of |= dict.fromkeys(spec.state, "state")
    for name in first.variables:
        groups[group_of.get(name, "slots and steps")].append(name)
    same = set(found.same)
    table = Table("", Column("values", justify="right"), Column("equal", justify="right"), box=None)
    for group, names in groups.items():
        if names:
            table.add_row(group, str(len(names)), str(sum(name in same for name in names)))
    console = Console()
    console.print(table)
    for name, difference in list(found.values.items())[:20]:
        far = "" if difference.maximum is None else f", by {difference.maximum:.3g} at most"
        console.print(escape(f"differs: {name}, {difference.numbers:,} numbers{far}"), highlight=False, soft_wrap=True)
    if len(found.values) > 20:
        console.print(f"and {len(found.values) - 20} more")
    if other := (*found.gone, *found.added, *found.shapes, *found.dtypes):
        console.print(escape(f"not in both, or of another shape: {comma_list(other)}"), highlight=False, soft_wrap=True)
    console.print("different" if found.differs else "equal, bit for bit")

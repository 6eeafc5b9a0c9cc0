"""The verb ``verify-resume``: whether a run that stops and goes on ends as one that never stopped, bit for bit."""

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
        help="prove that a run goes on bit for bit",
        description="Train 2N steps at once, and N steps and N more in a fresh process; compare every variable, "
        "average and slot. Exit code 0: all are equal, bit for bit; 1: some differ, and which; 2: a mistake to mend. "
        "Nothing is recorded in MLflow.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as for `expkit train`: experiment=siamese")
    parser.add_argument("--at", type=int, required=True, metavar="N", help="the step at which the run stops")
    parser.add_argument("--folder", metavar="PATH", help="where to train, and leave both runs; a temporary folder")
    parser.add_argument("--config-dir", action="append", default=[], help="folder with more configuration files")
    parser.set_defaults(run=_verify)


def _verify(given: argparse.Namespace) -> int:
    steps = given.at
    if steps < 1:
        raise ConfigError(Problem("--at", f"needs a number of steps from 1 on, got {steps}"))
    spec = load_checked(given.overrides, given.config_dir).spec
    with _place(given.folder) as folder:
        train = _Trainer(folder, given.overrides, given.config_dir)
        whole = train("whole", f"train.steps={2 * steps}")
        execution = whole.state()["execution"]["execution"]
        # A run that goes on keeps them, too.
        kept = [f"train.{name}={json.dumps(execution[name])}" for name in ("jit_compile", "parallelism")]
        train("halves", *kept, f"train.steps={steps}")
        halves = train("halves", *kept, f"train.steps={2 * steps}", f"run.resume={json.dumps(str(folder / 'halves'))}")
        first, second = (_last(run) for run in (whole, halves))
        found = diff_variables(first, second, dict.fromkeys([*first.variables, *second.variables]))
        print(f"{2 * steps} steps at once, beside {steps} and {steps} more in a fresh process")
        _print(found, first, spec)
        return int(found.differs)


class _Trainer:
    """Trains in processes of their own, beneath one folder."""

    def __init__(self, folder: Path, overrides: Sequence[str], config_dirs: Sequence[str]) -> None:
        self._folder = folder
        self._words = [*(word for name in config_dirs for word in ("--config-dir", name)), *overrides]

    def __call__(self, name: str, *overrides: str) -> RunFolder:
        """Train, and return the run.

        Raises:
            ExpkitError: training failed, with what it said.
        """
        run = self._folder / name
        own = ("run.resume=null", "tracking.enabled=false", "tracking.plots=false", "export.enabled=false")
        places = (f"run.folder={json.dumps(str(self._folder))}", f"hydra.run.dir={json.dumps(str(run))}")
        words = [*self._words, *own, *places, *overrides]
        command = [sys.executable, "-m", "expkit", "train", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line.removeprefix("error: ") for line in done.stderr.splitlines()]
            raise ExpkitError(*(Problem("", line) for line in said or [f"training ended with {done.returncode}"]))
        return RunFolder(run)


@contextmanager
def _place(folder: str | None) -> Iterator[Path]:
    """Return the folder that is asked for, which must be empty, or a temporary one.

    Raises:
        ConfigError: it holds something, or cannot be made.
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
        raise ConfigError(Problem("--folder", cannot_write(folder, error))) from None
    if not empty:
        raise ConfigError(Problem("--folder", f"{folder} is not empty; give a new folder"))
    yield path


def _last(run: RunFolder) -> VariableSource:
    return open_variables(run.path, str(run.path))


def _print(found: CheckpointDiff, first: VariableSource, spec: NetworkSpec) -> None:
    averages = {ema_name(name) for name in spec.variables}
    groups: dict[str, list[str]] = {"variables": [], "averages": [], "slots and steps": []}
    for name in first.variables:
        group = "variables" if name in spec.variables else "averages" if name in averages else "slots and steps"
        groups[group].append(name)
    same = set(found.same)
    table = Table("", Column("values", justify="right"), Column("equal", justify="right"), box=None)
    for group, names in groups.items():
        if names:
            table.add_row(group, str(len(names)), str(sum(name in same for name in names)))
    console = Console()
    console.print(table)
    for name, apart in list(found.values.items())[:20]:
        far = "" if apart.maximum is None else f", by {apart.maximum:.3g} at most"
        console.print(escape(f"differs: {name}, {apart.numbers:,} numbers{far}"), highlight=False, soft_wrap=True)
    if len(found.values) > 20:
        console.print(f"and {len(found.values) - 20} more")
    if other := (*found.gone, *found.added, *found.shapes, *found.dtypes):
        console.print(escape(f"not in both, or of another shape: {comma_list(other)}"), highlight=False, soft_wrap=True)
    console.print("different" if found.differs else "equal, bit for bit")

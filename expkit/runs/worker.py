"""A worker of a sweep: a process that takes its runs, beside any others, until none is left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from expkit.errors import RunError
from expkit.redact import HIDDEN
from expkit.runs.interruption import interruption_exits, termination_raises
from expkit.runs.recording import recorder_of_process
from expkit.runs.sweep_plan import SweepPlan, code_of, plan_sweep
from expkit.sweeps.runner import OVERRIDES, work_here
from expkit.sweeps.sweep_folder import Child, SweepFolder, sweep_at

__all__ = ["work", "worker_task"]


def worker_task(folder: str, overrides: Sequence[str], only: str | None) -> Callable[[DictConfig], None]:
    """Return the task of a worker that a launcher executes; it can be pickled.

    Args:
        folder: the sweep's folder.
        overrides: those of the sweep, secrets included.
        only: name of the one run that it may take, or ``None``.
    """
    return partial(_task, folder, list(overrides), only)


def _task(folder: str, overrides: Sequence[str], only: str | None, config: DictConfig) -> None:
    work(folder, overrides, attached=True, only=only, say=lambda child: None)


def work(
    address: str,
    overrides: Sequence[str] | None = None,
    *,
    attached: bool = False,
    only: str | None = None,
    say: Callable[[Child], None],
) -> tuple[SweepPlan, int]:
    """Execute runs of a sweep until none is left for this process; return the sweep and their number.

    Args:
        address: the sweep's folder.
        overrides: all of the sweep, or ``None`` for those that its folder records.
        attached: whether another process started this one, and finishes the sweep.
        only: name of the one run that may be taken.
        say: called with every run before it starts.

    Raises:
        ExpkitError: the sweep cannot be executed here: another version, code or configuration, or it was stopped.
    """
    folder = sweep_at(address)
    settings = folder.settings()
    plan = _plan(folder, settings, overrides)
    plan.launcher.run_here()
    board = plan.board(folder)
    board.only = only
    if attached and only is None and OVERRIDES in os.environ:
        parent = os.getppid()
        board.stopped = lambda: os.getppid() != parent
    from expkit.runs.child import run_child

    with interruption_exits(), termination_raises(), recorder_of_process(tracked=plan.tracked):
        return plan, work_here(board, plan.launcher, run_child, say)


def _plan(folder: SweepFolder, settings: dict[str, Any], overrides: Sequence[str] | None) -> SweepPlan:
    at = str(folder.path)
    if folder.stop_file.is_file():
        raise RunError.at(at, f"this sweep was stopped; continue it with expkit sweep stop --undo {at}")
    where = Path(settings.get("working_folder", "."))
    try:
        os.chdir(where)
    except OSError as error:
        raise RunError.at(
            at, f"its working folder {where} cannot be entered here ({error.strerror}); workers need it"
        ) from None
    words = _overrides(at, settings, overrides or ())
    plan = plan_sweep(words, settings.get("config_dirs", []))
    here, there = code_of(plan), settings.get("code", {})
    named = {"expkit": "expkit", "tensorflow": "TensorFlow", "digest": "the code of expkit or of a plugin"}
    for key, name in named.items():
        if there.get(key) != here[key]:
            both = "differs" if key == "digest" else f"is {here[key]} here, and {there.get(key)} in the sweep"
            raise RunError.at(
                at,
                f"{name} {both}; runs of one sweep need the same: repeat the sweep's command, or use its version",
            )
    if plan.key != settings.get("key"):
        raise RunError.at(at, "its configuration has changed since the sweep began; undo that, or begin another sweep")
    return plan


def _overrides(at: str, settings: dict[str, Any], given: Sequence[str]) -> list[str]:
    """Return the overrides of a sweep: those recorded, of which given ones replace those of the same key.

    Raises:
        RunError: a recorded one has a secret, which no file keeps.
    """
    if OVERRIDES in os.environ:
        return list(json.loads(os.environ[OVERRIDES]))
    parser = OverridesParser.create()
    replaced = {_key(parser, word): word for word in given}
    recorded = [str(word) for word in settings.get("overrides", [])]
    words = [replaced.pop(_key(parser, word), word) for word in recorded]
    words += replaced.values()
    if hidden := [word for word in words if HIDDEN in word]:
        raise RunError.at(
            at,
            f"the secret in {hidden[0]} is not kept in files; repeat it: expkit sweep work {at} "
            f"{hidden[0].partition('=')[0]}=...",
        )
    return words


def _key(parser: OverridesParser, word: str) -> str:
    return str(parser.parse_override(word).get_key_element())

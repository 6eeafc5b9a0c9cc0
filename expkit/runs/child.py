"""One run of a sweep, in any process that a launcher starts."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from expkit.config.load import validate_composed
from expkit.errors import RunError
from expkit.preflight import check_here
from expkit.run_folder import RunFolder
from expkit.runs.interruption import Terminated, interruption_exits
from expkit.runs.job import Job, run_job
from expkit.runs.recording import own_recorder
from expkit.sweeps.sweep_folder import SweepFolder
from expkit.sweeps.sweeper import PruneCheck
from expkit.sweeps.sweeper_selection import sweeper_of
from expkit.training.pool import GraphPool

__all__ = ["run_child"]

_pool = GraphPool()
"""Shared by all runs of this process."""


def run_child(config: DictConfig) -> None:
    """Run a job of a sweep; its status is in its folder, where the sweep looks for it.

    The settings of the sweep are in ``sweep.json`` beside the folder, so that job and sweep need to share nothing but
    the file system.

    Raises:
        RunError: the folder is another process's, or cannot be written.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    sweep_folder = SweepFolder(folder.parent)
    sweep = sweep_folder.settings()
    checked = check_here(validate_composed(config, sweep["config_dirs"]))
    # Recorded again, because a resumed run may have begun under a parent that was deleted since.
    above = {"mlflow.parentRunId": sweep["mlflow_run_id"]} if sweep.get("mlflow_run_id") else {}
    job = Job(
        checked=checked,
        folder=folder,
        overrides=tuple(hydra.overrides.task),
        label=sweep["runs"][folder.name]["label"],
        recorder=own_recorder() if checked.config.tracking.enabled else None,
        parent=sweep.get("parent"),
        tags={"expkit.sweep": sweep["name"], "expkit.sweep.key": sweep["key"], **above},
        objective=sweep.get("objective"),
        prune_check=_stoppable(sweep_folder, sweeper_of(hydra).prune_check(sweep_folder, folder.name)),
        quiet=True,
        runs=sweep["total"],
        pool=_pool,
    )
    before = _pool.built
    with interruption_exits():
        outcome = run_job(job)
    if _pool.built != before:
        gc.collect()  # graphs are full of cycles, and the next run may build its own
    if outcome.exit_code and RunFolder(folder).state().get("status") not in ("FAILED", "FINISHED"):
        raise RunError.at(sweep["runs"][folder.name]["label"], str(outcome.message))


def _stoppable(folder: SweepFolder, check: PruneCheck | None) -> PruneCheck:
    """Return a check that also interrupts the run once the sweep is stopped with ``--now``."""

    def checked(step: int, metrics: Mapping[str, float]) -> None:
        if folder.stops_now:
            raise Terminated
        if check is not None:
            check(step, metrics)

    return checked

"""One run of a sweep, in whatever process a launcher makes it."""

from __future__ import annotations

import gc
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from expkit.config.load import validate
from expkit.errors import RunError
from expkit.run_folder import RunFolder
from expkit.runs.job import Job, run_job
from expkit.runs.recording import own_recorder
from expkit.sweeps.sweep_folder import SweepFolder
from expkit.sweeps.sweeper_selection import sweeper_of

__all__ = ["run_child"]


def run_child(config: DictConfig) -> None:
    """Run a job of a sweep; how it ended is in its folder, where the sweep looks for it.

    What it shares with the sweep is in ``sweep.json`` beside its folder, so that nothing but the file system has to lie
    between them.

    Raises:
        RunError: the folder is another process's, or cannot be written.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    swept = SweepFolder(folder.parent)
    sweep = swept.settings()
    raw = OmegaConf.to_container(config, resolve=True)
    assert isinstance(raw, dict)
    run = validate({str(key): value for key, value in raw.items()}, sweep["config_dirs"])
    # Said again, because a run that goes on may have begun under a parent that was deleted since.
    above = {"mlflow.parentRunId": sweep["mlflow_run_id"]} if sweep.get("mlflow_run_id") else {}
    outcome = run_job(
        Job(
            config=run,
            folder=folder,
            overrides=tuple(hydra.overrides.task),
            label=sweep["runs"][folder.name]["label"],
            recorder=own_recorder() if run.tracking.enabled else None,
            parent=sweep.get("parent"),
            tags={"expkit.sweep": sweep["name"], "expkit.sweep.key": sweep["key"], **above},
            judge=sweeper_of(hydra).prune_check(swept, folder.name),
            quiet=True,
        )
    )
    gc.collect()  # graphs are full of cycles, and the next run makes its own
    if not gc.get_freeze_count():
        gc.freeze()  # what is left after a first run is TensorFlow, which need not be looked through again
    if outcome.error is not None and RunFolder(folder).state().get("status") != "FAILED":
        raise RunError.at(sweep["runs"][folder.name]["label"], outcome.error)

"""Launching of a sweep's runs, in whichever processes Hydra's launcher chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, setup_globals
from hydra.types import HydraContext, RunMode, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from expkit.config.hydra_internals import Callbacks, config_loader, failure_of
from expkit.config.hydra_settings import check_hydra_settings
from expkit.config.load import hydra_resolvable, quoted
from expkit.config.search import primary_conf, searching
from expkit.errors import ConfigError
from expkit.machine import cores
from expkit.provenance import is_installed
from expkit.sweeps.jobs import SweepJob
from expkit.sweeps.sweep_folder import Child, SweepFolder

__all__ = ["Launcher"]

_RAY = "expkit.sweeps.ray_launcher.RayLauncher"
_BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"

# Extras that install the launchers of other packages, by the launcher's name in expkit's settings and in its own.
_EXTRAS = {"cores": "joblib", "joblib": "joblib", "slurm": "submitit", "slurm_local": "submitit"}
_EXTRAS |= {"submitit_slurm": "submitit", "submitit_local": "submitit"}


class Launcher:
    """Hydra's settings of a sweep, with the launcher that they name."""

    def __init__(self, overrides: Sequence[str], config_dirs: Sequence[str]) -> None:
        """Compose Hydra's settings; overrides that vary are left to the jobs.

        Raises:
            HydraException: the overrides cannot be composed.
            ConfigError: the launcher is not installed.
        """
        for override in overrides:
            if override.startswith("hydra/launcher="):
                _check_installed(override.partition("=")[2])  # before Hydra reports a missing file
        setup_globals()
        with searching(config_dirs):
            self._loader = config_loader(primary_conf())
            self._settings: DictConfig = self._loader.load_configuration("config", list(overrides), RunMode.MULTIRUN)
        with hydra_resolvable(self._settings):
            check_hydra_settings(self._settings)
            self._callbacks = Callbacks(self._settings)
            self.folder = Path(self._settings.hydra.sweep.dir).resolve()
        """Folder of the sweep by Hydra's settings."""
        _check_installed(str(self.settings.runtime.choices["hydra/launcher"]))

    @property
    def settings(self) -> Any:
        """Hydra's settings."""
        return self._settings.hydra

    @property
    def in_this_process(self) -> bool:
        """True if runs are executed one after another in this process."""
        return self._target == _BASIC

    @property
    def waits_for_all(self) -> bool:
        """True if no run is executing any more once the launcher has failed."""
        return self.in_this_process or "joblib" in self._target

    @contextmanager
    def callbacks(self) -> Iterator[None]:
        """Call the user's callbacks of Hydra before and after the sweep."""
        self._callbacks.on_multirun_start(config=self._settings, config_name="config")
        yield
        self._callbacks.on_multirun_end(config=self._settings, config_name="config")

    @property
    def slots(self) -> int:
        """Number of runs that the launcher executes at the same time by its own settings."""
        if self.in_this_process:
            return 1
        given = [self.settings.launcher.get(key) for key in ("n_jobs", "array_parallelism", "workers")]
        count = next((value for value in given if isinstance(value, int)), -1)
        return count if count > 0 else cores()

    def run_here(self) -> None:
        """Execute runs in this process from now on, whatever the settings say, as a worker does."""
        with open_dict(self._settings):
            self._settings.hydra.launcher = {"_target_": _BASIC}

    def launch(self, child: Child, sweep: SweepFolder, task: TaskFunction) -> None:
        """Execute a run in its folder; return when it has ended.

        Raises:
            Exception: the reason the run could not start.
        """
        self._launch([[*child.job.overrides, f"hydra.sweep.subdir={quoted(child.name)}"]], sweep, task, child.number)

    def launch_workers(self, count: int, job: SweepJob, sweep: SweepFolder, task: TaskFunction) -> None:
        """Execute a task in ``count`` processes of the launcher; return when all have ended.

        Args:
            count: number of processes.
            job: any job of the sweep, whose overrides can be composed.
            sweep: the sweep.
            task: the task.

        Raises:
            Exception: the launcher's error when a process dies or a queue refuses, or the task's.
        """
        names = (quoted(f".workers/{number}") for number in range(count))
        self._launch([[*job.overrides, f"hydra.sweep.subdir={name}"] for name in names], sweep, task, 0)

    def _launch(self, jobs: Sequence[Sequence[str]], sweep: SweepFolder, task: TaskFunction, first: int) -> None:
        with open_dict(self._settings):
            self._settings.hydra.sweep.dir = str(sweep.path)
            sweep_dir = f"hydra.sweep.dir={quoted(sweep.path)}"
            if sweep_dir not in self._settings.hydra.overrides.hydra:
                self._settings.hydra.overrides.hydra.append(sweep_dir)
        # Outside searching: a launcher pickles Hydra's registries, which other processes have to load.
        configure_log(self._settings.hydra.hydra_logging, self._settings.hydra.verbose)
        context = HydraContext(config_loader=self._loader, callbacks=self._callbacks)
        if self._target == _RAY:  # Hydra's plugins are in the package hydra_plugins
            launcher = instantiate(self._settings.hydra.launcher)
            launcher.setup(hydra_context=context, task_function=task, config=self._settings)
        else:
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=context, task_function=task, config=self._settings
            )
        for ended in launcher.launch(jobs, initial_job_idx=first):
            if (failure := failure_of(ended)) is not None:
                raise failure

    @property
    def _target(self) -> str:
        return str(self._settings.hydra.launcher.get("_target_"))


def _check_installed(launcher: str) -> None:
    if launcher == "ray" and not is_installed("ray"):
        raise ConfigError.at("hydra/launcher", "'ray' needs ray, which is not installed: pip install 'expkit[ray]'")
    package = f"hydra_{_EXTRAS.get(launcher)}_launcher"
    if launcher in _EXTRAS and not is_installed(f"hydra_plugins.{package}"):
        raise ConfigError.at(
            "hydra/launcher",
            f"'{launcher}' needs {package.replace('_', '-')}, which is not installed: "
            f"pip install 'expkit[{_EXTRAS[launcher]}]'; without a launcher runs are executed one after another",
        )

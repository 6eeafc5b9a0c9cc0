"""Launching of a sweep's runs, in whichever processes Hydra's launcher chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, setup_globals
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, open_dict

from expkit.config.hydra_internals import Callbacks, config_loader, failure_of
from expkit.config.hydra_settings import check_hydra_settings
from expkit.config.load import hydra_resolvable, quoted
from expkit.config.search import primary_conf, searching
from expkit.errors import ConfigError, Problem
from expkit.provenance import is_installed
from expkit.sweeps.sweep_folder import Child, SweepFolder

__all__ = ["Launcher"]

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
        return self._target.endswith(".BasicLauncher")

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

    def launch(self, children: Sequence[Child], sweep: SweepFolder, task: TaskFunction) -> None:
        """Execute runs in their folders; return when all have ended.

        Raises:
            Exception: the launcher's error when a process dies or a queue refuses, or the reason a run could not start.
        """
        with open_dict(self._settings):
            self._settings.hydra.sweep.dir = str(sweep.path)
            sweep_dir = f"hydra.sweep.dir={quoted(sweep.path)}"
            if sweep_dir not in self._settings.hydra.overrides.hydra:
                self._settings.hydra.overrides.hydra.append(sweep_dir)
        # Outside searching: a launcher pickles Hydra's registries, which other processes have to load.
        configure_log(self._settings.hydra.hydra_logging, self._settings.hydra.verbose)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=self._loader, callbacks=self._callbacks),
            task_function=task,
            config=self._settings,
        )
        jobs = [[*child.job.overrides, f"hydra.sweep.subdir={quoted(child.name)}"] for child in children]
        for ended in launcher.launch(jobs, initial_job_idx=children[0].number):
            if (failure := failure_of(ended)) is not None:
                raise failure

    @property
    def _target(self) -> str:
        return str(self._settings.hydra.launcher.get("_target_"))


def _check_installed(launcher: str) -> None:
    package = f"hydra_{_EXTRAS.get(launcher)}_launcher"
    if launcher in _EXTRAS and not is_installed(f"hydra_plugins.{package}"):
        raise ConfigError(
            Problem(
                "hydra/launcher",
                f"'{launcher}' needs {package.replace('_', '-')}, which is not installed: "
                f"pip install 'expkit[{_EXTRAS[launcher]}]'; without a launcher runs are executed one after another",
            )
        )

"""Launching: a batch of a sweep's runs is handed to one of Hydra's launchers, whichever process they then run in."""

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
from expkit.config.load import builtin_conf_behind, primary_conf, quoted, search_path
from expkit.errors import ConfigError, Problem
from expkit.provenance import is_installed
from expkit.sweeps.sweep_folder import Child, SweepFolder

__all__ = ["Launching"]

# The launchers that are packages of their own: by the names of their settings, here and there, the extra that has them.
_EXTRAS = {"cores": "joblib", "joblib": "joblib", "slurm": "submitit", "slurm_local": "submitit"}
_EXTRAS |= {"submitit_slurm": "submitit", "submitit_local": "submitit"}


class Launching:
    """Hydra's side of a sweep: its settings, and the launcher."""

    def __init__(self, words: Sequence[str], folders: Sequence[str]) -> None:
        """Compose Hydra's settings; the words that vary are left to the jobs.

        Raises:
            HydraException: the words cannot be composed.
            ConfigError: the launcher is not installed.
        """
        for word in words:
            if word.startswith("hydra/launcher="):
                _check_installed(word.partition("=")[2])  # before a file that is not there is missed
        setup_globals()
        with builtin_conf_behind():
            self._loader = config_loader(primary_conf())
            given = [*search_path(folders), *words]
            self._settings: DictConfig = self._loader.load_configuration("config", given, RunMode.MULTIRUN)
        self._callbacks = Callbacks(self._settings)
        self.folder = Path(self._settings.hydra.sweep.dir).resolve()
        """Where Hydra's settings put the sweep."""
        _check_installed(str(self.settings.runtime.choices["hydra/launcher"]))

    @property
    def settings(self) -> Any:
        """Hydra's settings."""
        return self._settings.hydra

    @property
    def in_this_process(self) -> bool:
        """Whether runs are made one after the other, here."""
        return self._target.endswith(".BasicLauncher")

    @property
    def waits_for_all(self) -> bool:
        """Whether nothing runs any more when the launcher has failed."""
        return self.in_this_process or "joblib" in self._target

    @contextmanager
    def calling_back(self) -> Iterator[None]:
        """Call the user's own callbacks of Hydra before and after the sweep."""
        self._callbacks.on_multirun_start(config=self._settings, config_name="config")
        yield
        self._callbacks.on_multirun_end(config=self._settings, config_name="config")

    def launch(self, children: Sequence[Child], sweep: SweepFolder, task: TaskFunction) -> None:
        """Run children in their folders; this returns when all have ended.

        Raises:
            Exception: what the launcher raises when a process dies or a queue refuses, or why a run could not begin.
        """
        with open_dict(self._settings):
            self._settings.hydra.sweep.dir = str(sweep.path)
            place = f"hydra.sweep.dir={quoted(sweep.path)}"
            if place not in self._settings.hydra.overrides.hydra:
                self._settings.hydra.overrides.hydra.append(place)
        # Not within builtin_conf_behind: a launcher hands on Hydra's registries, which other processes have to know.
        configure_log(self._settings.hydra.hydra_logging, self._settings.hydra.verbose)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(config_loader=self._loader, callbacks=self._callbacks),
            task_function=task,
            config=self._settings,
        )
        jobs = [[*child.job.words, f"hydra.sweep.subdir={quoted(child.folder.path.name)}"] for child in children]
        for ended in launcher.launch(jobs, initial_job_idx=children[0].number):
            if (failure := failure_of(ended)) is not None:
                raise failure

    @property
    def _target(self) -> str:
        return str(self._settings.hydra.launcher.get("_target_"))


def _check_installed(name: str) -> None:
    package = f"hydra_{_EXTRAS.get(name)}_launcher"
    if name in _EXTRAS and not is_installed(f"hydra_plugins.{package}"):
        raise ConfigError(
            Problem(
                "hydra/launcher",
                f"'{name}' needs {package.replace('_', '-')}, which is not installed: "
                f"pip install 'expkit[{_EXTRAS[name]}]'; without a launcher runs are made one after the other",
            )
        )

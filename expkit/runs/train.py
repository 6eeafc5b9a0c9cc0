"""One training run, from its overrides to its outcome: composed once, checked once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import run_job as hydra_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from expkit.checkpoints.restore.restore import check_restore
from expkit.config.hydra_internals import Callbacks, config_loader
from expkit.config.hydra_messages import composition_message
from expkit.config.load import compose_plain
from expkit.config.search import primary_conf
from expkit.config.source_lines import locating_problems
from expkit.errors import ConfigError
from expkit.preflight import check_composed, check_here
from expkit.run_folder import unwritable
from expkit.run_lookup import resumable
from expkit.runs.recording import recorder_of_process, say_environment

if TYPE_CHECKING:
    from expkit.runs.job import Outcome

__all__ = ["train"]


def train(
    overrides: Sequence[str], config_dirs: Sequence[str] = (), *, quiet: bool = False, embedded: bool = False
) -> Outcome:
    """Run one experiment.

    Args:
        overrides: as on the command line.
        config_dirs: further folders of configuration files.
        quiet: print nothing.
        embedded: leave the logging of the process as it is, because it is another program's.

    Raises:
        ConfigError: with every mistake found, before anything is written.
        CheckpointError: the restore is incomplete, or a file of it is missing or damaged; nothing is written.
        RunError: the run to resume is none, or its folder cannot be written.
    """
    with locating_problems(overrides, config_dirs):
        composed = compose_plain(overrides, config_dirs)
        if name := composed.hydra.runtime.choices.get("sweep"):
            raise ConfigError.at("sweep", f"'{name}' is a sweep; add -m: expkit train -m +sweep={name}")
        checked = check_composed(composed, config_dirs, check_here)
        config = checked.config
        resumed = resumable(config)
        if config.restore.from_ is not None and (resumed is None or not any(resumed.checkpoints.glob("step-*"))):
            check_restore(checked)
    _check_writable(Path(config.run.folder))
    if resumed is not None:
        composed.hydra.run.dir = str(resumed.path.resolve())
    say_environment(config, quiet=quiet)
    with recorder_of_process(tracked=config.tracking.enabled) as recorder:
        from expkit.runs.job import Job, run_job  # imports much, while the recorder's process does too

        def run(folder: Path) -> Outcome:
            with _log_file(folder / "run.log") if embedded else nullcontext():
                return run_job(
                    Job(checked=checked, folder=folder, overrides=tuple(overrides), recorder=recorder, quiet=quiet)
                )

        return _in_hydra(composed, run, configure_logging=not embedded)


def _in_hydra(composed: DictConfig, run: Callable[[Path], Outcome], *, configure_logging: bool) -> Outcome:
    """Run in the folder, with the logging, the environment and the callbacks of Hydra's settings.

    Raises:
        ConfigError: Hydra's settings are wrong.
    """
    outcomes: list[Outcome] = []
    with open_dict(composed):
        composed.hydra.mode = RunMode.RUN

    def task(config: DictConfig) -> None:
        outcomes.append(run(Path(composed.hydra.runtime.output_dir)))

    try:
        callbacks = Callbacks(composed)
        callbacks.on_run_start(config=composed, config_name="config")
        ended = hydra_job(
            hydra_context=HydraContext(config_loader=config_loader(primary_conf()), callbacks=callbacks),
            task_function=task,
            config=composed,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            configure_logging=configure_logging,
        )
        callbacks.on_run_end(config=composed, config_name="config", job_return=ended)
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError.at("command line", composition_message(error)) from None
    return outcomes[0]


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Log into the run folder as ``conf/hydra/job_logging/expkit.yaml`` does, beside the handlers of the program."""
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, own = logging.getLogger(), logging.getLogger("expkit")
    before = own.level
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    try:
        yield
    finally:
        own.setLevel(before)
        root.removeHandler(handler)
        handler.close()


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise unwritable(folder, error) from None

"""The verb ``train``: a Hydra application; every job is checked before the first one starts."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from expkit.config.load import builtin_conf_behind, compose_plain, primary_conf, said, search_path, validate
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem, RunError
from expkit.preflight import load_checked
from expkit.rundir import resumable

if TYPE_CHECKING:
    from expkit.cli.job import Job, Outcome
    from expkit.tracking.recorder import Recorder

__all__ = ["complete", "run"]

PARENT_RUN = "EXPKIT_PARENT_RUN"
VARIED = "EXPKIT_VARIED"

# Flags of Hydra that would run something else than what was checked.
_REFUSED = {
    "config_name": "an experiment begins with config.yaml; put yours into conf/experiment and write experiment=NAME",
    "config_path": "files are read from ./conf; name another folder with --config-dir",
    "experimental_rerun": "a run is continued with run.resume=PATH",
}


def run(words: list[str]) -> int:
    """Run one experiment, or a sweep with ``-m``; return the exit code."""
    given = _parse(words)
    overrides, folders = list(given.overrides), [given.config_dir] if given.config_dir else []
    flags = _flags(given)
    if given.help or given.hydra_help or given.shell_completion:
        return _hydra(flags, overrides, folders, _never)
    if given.cfg or given.info:
        compose_plain([word for word in overrides if not _varies(word)], folders)
        return _hydra(flags, overrides, folders, _never)
    jobs = _jobs(overrides) if given.multirun else [overrides]
    configs = _check_all(jobs, folders)
    _check_writable(configs[0])
    if given.multirun:
        with _recorder(configs) as recorder:
            return _sweep(flags, overrides, folders, jobs, configs, recorder)
    resumed = resumable(configs[0])
    place = [f"hydra.run.dir={_quoted(resumed.path.resolve())}"] if resumed else []
    outcomes: list[Outcome] = []
    with _recorder(configs) as recorder:
        from expkit.cli.job import run_job

        def task(config: DictConfig) -> None:
            outcomes.append(run_job(_job(config, overrides, folders, recorder)))

        _hydra(flags, [*overrides, *place], folders, task)
    return outcomes[0].exit_code


def complete(words: list[str]) -> int:
    """Answer the shell's tab completion, for verbs and for Hydra's configuration alike."""
    line = os.environ.get("COMP_LINE", "")
    if not line and any(word.startswith("query=") for word in words):
        raise ConfigError(
            Problem(
                "-sc query", 'answers a shell, which sets COMP_LINE; set it up with eval "$(expkit -sc install=bash)"'
            )
        )
    if line:
        _, _, rest = line.partition(" ")
        verb, found, _ = rest.lstrip().partition(" ")
        if not found:
            from expkit.cli.main import VERBS

            print("\n".join(word for word in ("train", *VERBS) if word.startswith(verb)))
            return 0
        if verb not in ("train", "names", "check"):
            return 0
        at = line.index(verb)
        os.environ["COMP_LINE"] = line[:at] + line[at + len(verb) + 1 :]
        point = os.environ.get("COMP_POINT", "")
        if point.isdigit():
            os.environ["COMP_POINT"] = str(max(0, int(point) - len(verb) - 1))
    return _hydra(words, [], [], _never)


def _parse(words: list[str]) -> Any:
    parser = get_args_parser()
    parser.prog = "expkit train"
    given = parser.parse_intermixed_args(words)
    refused = {flag: why for flag, why in _REFUSED.items() if getattr(given, flag) is not None}
    if refused:
        raise ConfigError(*(Problem(f"--{flag.replace('_', '-')}", why) for flag, why in refused.items()))
    return given


def _flags(given: Any) -> list[str]:
    """Return the flags as they are to be handed on; ``--config-dir`` goes into Hydra's search path instead."""
    switches = ("help", "hydra_help", "resolve", "run", "multirun", "shell_completion")
    valued = {name: getattr(given, name) for name in ("cfg", "package", "info")}
    return [
        *(f"--{name.replace('_', '-')}" for name in switches if getattr(given, name)),
        *(word for name, value in valued.items() if value is not None for word in (f"--{name}", value)),
    ]


def _hydra(flags: list[str], overrides: list[str], folders: Sequence[str], task: Any) -> int:
    """Hand the command line to Hydra, flags first, because it wants all overrides together.

    Raises:
        ConfigError: what Hydra finds wrong with its own settings, or with flags that do not go together.
    """
    sys.argv = ["expkit", *flags, *search_path(folders), *overrides]

    def expkit(config: DictConfig) -> Any:
        return task(config)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print with a traceback.
    try:
        with builtin_conf_behind():
            hydra.main(version_base="1.3", config_path=str(primary_conf()), config_name="config")(expkit)()
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(Problem("command line", said(error))) from None
    return 0


def _never(config: DictConfig) -> None:
    raise AssertionError("Hydra answers this itself")


def _jobs(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of every job of a sweep, as Hydra's basic sweeper will make them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except OverrideParseException as error:
        raise ConfigError(
            Problem("command line", f"cannot read the override '{error.override}'; write path.to.key=VALUE, or =A,B")
        ) from None
    except HydraException as error:
        raise ConfigError(Problem("command line", said(error))) from None
    return [list(job) for batch in batches for job in batch]


def _check_all(jobs: list[list[str]], folders: Sequence[str]) -> list[Config]:
    """Return every job's configuration; all mistakes of all jobs are reported at once."""
    configs: list[Config] = []
    problems: dict[str, Problem] = {}
    for place, job in enumerate(jobs):
        try:
            configs.append(load_checked(job, folders)[0])
        except ConfigError as error:
            where = f" (job {place} of {len(jobs)}: {' '.join(job)})" if len(jobs) > 1 else ""
            for problem in error.problems:
                problems.setdefault(str(problem), replace(problem, message=f"{problem.message}{where}"))
    if problems:
        raise ConfigError(*problems.values())
    return configs


def _check_writable(config: Config) -> None:
    folder = Path(config.run.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise RunError.at(
            "run.folder",
            f"cannot write {folder} ({error.strerror}); give a folder that is writable with run.folder=PATH",
        ) from None


@contextmanager
def _recorder(configs: list[Config]) -> Iterator[Recorder | None]:
    """Start the process that has MLflow, early, so that it is ready when the first run is."""
    if not any(config.tracking.enabled for config in configs):
        yield None
        return
    from expkit.tracking.recorder import Recorder

    with Recorder() as recorder:
        yield recorder


def _sweep(
    flags: list[str],
    overrides: list[str],
    folders: Sequence[str],
    jobs: list[list[str]],
    configs: list[Config],
    recorder: Recorder | None,
) -> int:
    """Run all jobs under one MLflow parent; return 1 if any failed."""
    if any(config.run.resume is not None for config in configs):
        raise ConfigError(Problem("run.resume", "a sweep cannot be resumed; resume its runs one by one"))
    from rich.console import Console

    from expkit.cli.job import run_job

    console = Console()
    varied = [word.split("=")[0].lstrip("+") for word in overrides if _varies(word)]
    passed = [f"+hydra.job.env_set.{VARIED}={_quoted(';'.join(varied))}"]
    parent = None
    if recorder is not None and configs[0].tracking.enabled:
        from expkit.tracking.mlflow import SweepRun

        over = f" over {', '.join(_short_names(varied).values())}" if varied else ""
        place = _sweep_folder(overrides, configs[0])
        parent = SweepRun(recorder, configs[0], place, f"{configs[0].run.name} sweep{over}")
        parent.begin()
        passed += [f"hydra.sweep.dir={_quoted(place)}", f"+hydra.job.env_set.{PARENT_RUN}={_quoted(parent.reference)}"]
    outcomes: list[Outcome] = []

    def task(config: DictConfig) -> None:
        job = _job(config, list(HydraConfig.get().overrides.task), folders, recorder)
        console.print(f"[bold]{job.label or job.config.run.name}[/] ({len(outcomes) + 1} of {len(jobs)})")
        outcomes.append(run_job(job))

    ended = False
    try:
        _hydra(flags, [*overrides, *passed], folders, task)
        ended = True
    finally:
        failed = [outcome for outcome in outcomes if outcome.exit_code != 0]
        if parent is not None:
            parent.finish("FINISHED" if ended and not failed else "FAILED" if ended else "KILLED")
    console.print(f"{len(outcomes) - len(failed)} of {len(jobs)} runs finished, {len(failed)} failed")
    if parent is not None:
        console.print(f"MLflow run {parent.link}")
    return 1 if failed else 0


def _sweep_folder(overrides: Sequence[str], config: Config) -> Path:
    """Return the sweep's folder: the one that is given, or a new one."""
    given = [word.partition("=")[2] for word in overrides if word.startswith("hydra.sweep.dir=")]
    now = datetime.datetime.now()
    new = Path(config.run.folder) / "multirun" / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S-%f}_{config.run.name}"
    return Path(given[-1]) if given else new


def _job(config: DictConfig, overrides: list[str], folders: Sequence[str], recorder: Recorder | None) -> Job:
    varied = [key for key in os.environ.get(VARIED, "").split(";") if key]
    names = _short_names(varied)
    given = dict(word.lstrip("+").split("=", 1) for word in overrides if "=" in word)
    label = ", ".join(f"{names[key]}={given[key]}" for key in varied if key in given)
    from expkit.cli.job import Job

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return Job(
        config=validate({str(key): value for key, value in plain.items()}, folders),
        folder=Path(HydraConfig.get().runtime.output_dir),
        overrides=tuple(overrides),
        label=label or None,
        parent=os.environ.get(PARENT_RUN),
        recorder=recorder,
    )


def _short_names(keys: list[str]) -> dict[str, str]:
    """Return the shortest ends of dotted keys that tell them apart."""
    short = {}
    for key in keys:
        parts = key.split(".")
        for count in range(1, len(parts) + 1):
            short[key] = ".".join(parts[-count:])
            if sum(other == short[key] or other.endswith(f".{short[key]}") for other in keys) == 1:
                break
    return short


def _varies(word: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(word).is_sweep_override())
    except HydraException:
        return False


def _quoted(value: Any) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"

"""Check of Hydra's own settings: unknown keys, those that expkit does not follow, those that would run Python."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from expkit.errors import ConfigError, Problem, unknown

__all__ = ["check_hydra_settings"]

_LAUNCHERS = (
    "expkit.sweeps.ray_launcher.RayLauncher",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
)
_LOGGING = (
    "colorlog.ColoredFormatter",
    "ext://sys.stderr",
    "ext://sys.stdout",
    "logging.FileHandler",
    "logging.Formatter",
    "logging.NullHandler",
    "logging.StreamHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
)
_SWEEPERS = ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper",)
_KNOWN = frozenset((*_LAUNCHERS, *_LOGGING, *_SWEEPERS))
"""Objects of Python that settings may name without a plugin."""

_NAMING = ("_target_", "()", "class", "factory", "listener")
"""Keys whose values name objects of Python: the first is Hydra's, the others are those of ``logging.config``."""

_LOADING = ("LD_", "PYTHON", "PATH")
"""Beginnings of environment variables that name code which a process loads."""


def check_hydra_settings(composed: DictConfig) -> None:
    """Check the settings under ``hydra`` of a composed configuration.

    Raises:
        ConfigError: with every mistake found.
    """
    settings = composed.hydra
    plugins = composed.get("plugins")
    modules = tuple(map(str, plugins)) if isinstance(plugins, ListConfig) else ()
    problems = [*_unknown_keys(settings, "hydra"), *_not_followed(settings), *_code(settings, "hydra", modules)]
    problems += [
        Problem(
            f"hydra.job.env_set.{name}",
            "may name code that a process loads; set it in the shell, before the command",
        )
        for name in settings.job.env_set
        if str(name).startswith(_LOADING)
    ]
    if problems:
        raise ConfigError(*problems)


def _unknown_keys(node: Any, at: str) -> Iterator[Problem]:
    """Yield the keys that Hydra's own dataclasses do not have: ``+hydra.jbo.name=x`` adds them unnoticed."""
    schema = OmegaConf.get_type(node)
    if not isinstance(node, DictConfig) or not is_dataclass(schema) or not schema.__module__.startswith("hydra.conf"):
        return
    known = [*(item.name for item in fields(schema)), *(["env"] if at == "hydra" else [])]  # a group without a field
    for key in map(str, node):
        if key not in known:
            yield Problem(f"{at}.{key}", unknown("unknown field", key, known, most=40))
        elif not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            yield from _unknown_keys(node[key], f"{at}.{key}")


def _not_followed(settings: Any) -> Iterator[Problem]:
    if settings.mode not in (None, RunMode.RUN):
        yield Problem("hydra.mode", "a sweep is requested with -m; leave this out")
    if settings.job.chdir:
        yield Problem(
            "hydra.job.chdir",
            "true would look for data, runs and checkpoints inside each run's folder; leave this out, and write the "
            "folder of a run as ${hydra:run.dir}",
        )
    as_written: Any = OmegaConf.to_container(settings.sweep)
    if as_written["subdir"] not in ("${hydra.job.num}", "${hydra:job.num}_${run.name}"):
        yield Problem(
            "hydra.sweep.subdir",
            "runs of a sweep are in folders called NUMBER_NAME; leave this out, and give run.name=NAME",
        )
    if not isinstance(settings.verbose, bool | str | ListConfig):
        yield Problem("hydra.verbose", f"needs true, false, the name of a logger or a list, got {settings.verbose}")


def _code(node: Any, at: str, modules: tuple[str, ...]) -> Iterator[Problem]:
    """Yield the settings that name objects of Python other than known ones and those in modules of ``plugins``."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none() or node._is_missing():
        return
    for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
        inside = f"{at}[{key}]" if isinstance(node, ListConfig) else f"{at}.{key}"
        named = key in _NAMING
        try:
            value = node[key]
        except OmegaConfBaseException:
            as_written: Any = OmegaConf.to_container(node)
            value = as_written[key]
        if not (named or (isinstance(value, str) and value.startswith("ext://"))):
            yield from _code(value, inside, modules)
        elif value not in _KNOWN and not _in_modules(str(value), modules):
            yield _refusal(inside, str(value))


def _in_modules(name: str, modules: tuple[str, ...]) -> bool:
    return name.removeprefix("ext://").startswith(tuple(f"{module}." for module in modules))


def _refusal(at: str, name: str) -> Problem:
    near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=0.8)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    module = name.removeprefix("ext://").rpartition(".")[0] or "MODULE"
    return Problem(
        at,
        f"'{name}' is Python, which a configuration does not run by itself{hint} to allow it add its module to "
        f"plugins: [{module}]",
    )

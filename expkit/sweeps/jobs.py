"""Jobs of a sweep: its runs before they start, checked, each with a label and a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException

from expkit.config.load import composition_message, plain, unreadable_override
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem
from expkit.preflight import check, load_checked
from expkit.run_folder import config_digest, short_names

__all__ = ["SweepJob", "check_jobs", "hash_of", "label_of", "parse_overrides", "varied_keys"]


@dataclass(frozen=True)
class SweepJob:
    """A run of a sweep before it starts, checked."""

    overrides: tuple[str, ...]
    config: Config
    label: str
    """The values that differ from those of the other runs: ``units=64, rate=0.1``."""

    @property
    def digest(self) -> str:
        """Hash of everything that changes the run's numbers, its length or its exports."""
        return hash_of(config_digest(self.config), plain(self.config)["export"])


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Return overrides as Hydra parses them.

    Raises:
        ConfigError: an override cannot be parsed.
    """
    try:
        return list(OverridesParser.create().parse_overrides(list(overrides)))
    except OverrideParseException as error:
        raise ConfigError(unreadable_override(str(error.override), ", or =A,B")) from None
    except HydraException as error:
        raise ConfigError(Problem("command line", composition_message(error))) from None


def varied_keys(overrides: Iterable[Override]) -> list[str]:
    """Return the keys that a sweep varies."""
    return [str(item.get_key_element()).lstrip("+") for item in overrides if item.is_sweep_override()]


def label_of(keys: Sequence[str], overrides: Iterable[str]) -> str | None:
    """Return a job's label from the keys that vary, or ``None`` if none of them is among the overrides."""
    names = short_names(keys)
    values = dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    return ", ".join(f"{names[key]}={_rounded(values[key])}" for key in keys if key in values) or None


def _rounded(value: str) -> str:
    """Return a number of many digits rounded to five, and any other value unchanged."""
    try:
        return f"{float(value):.5g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value


def check_jobs(
    override_lists: Sequence[Sequence[str]], keys: Sequence[str], config_dirs: Sequence[str]
) -> list[SweepJob]:
    """Return the jobs of lists of overrides.

    Args:
        override_lists: the overrides of each job.
        keys: the keys that vary.
        config_dirs: the folders of ``--config-dir``.

    Raises:
        ConfigError: with the mistakes of all jobs, each mistake once.
    """
    jobs: list[SweepJob] = []
    problems: dict[str, Problem] = {}
    for index, overrides in enumerate(override_lists):
        try:
            config = load_checked(overrides, config_dirs, by=check).config
            jobs.append(SweepJob(tuple(overrides), config, label_of(keys, overrides) or config.run.name))
        except ConfigError as error:
            several = len(override_lists) > 1
            which = f" (job {index} of {len(override_lists)}: {' '.join(overrides)})" if several else ""
            for problem in error.problems:
                problems.setdefault(str(problem), replace(problem, message=f"{problem.message}{which}"))
    if problems:
        raise ConfigError(*problems.values())
    return jobs


def hash_of(*values: object) -> str:
    """Return a SHA-256 hash of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

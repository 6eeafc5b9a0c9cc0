"""Jobs of a sweep: its runs before they start, checked, each with a label and a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from expkit.config.load import plain
from expkit.config.schema import Config
from expkit.config.source_lines import locating_problems
from expkit.errors import ConfigError, Problem
from expkit.preflight import check, check_composed, metric_names
from expkit.redact import masked
from expkit.run_folder import config_digest, flat, short_names
from expkit.sweeps.given_overrides import GivenOverrides

__all__ = ["SweepJob", "check_jobs", "check_same_place", "hash_of"]


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """A run of a sweep before it starts, checked."""

    overrides: tuple[str, ...]
    config: Config
    label: str
    """The values that differ from those of the other runs: ``units=64, rate=0.1``."""
    metrics: tuple[str, ...]
    """Names of the metrics of its losses and metrics that it records."""

    @property
    def digest(self) -> str:
        """Hash of everything that changes the run's numbers, its length or its exports."""
        return hash_of(config_digest(self.config), plain(self.config)["export"])


def _rounded(value: str) -> str:
    """Return a number of many digits rounded to five, and any other value unchanged."""
    try:
        return f"{float(value):.5g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value


def check_jobs(override_lists: Sequence[Sequence[str]], given: GivenOverrides) -> list[SweepJob]:
    """Return the jobs of lists of overrides.

    Args:
        override_lists: the overrides of each job.
        given: the overrides of the command line.

    Raises:
        ConfigError: with the mistakes of all jobs, each mistake once.
    """
    jobs: list[SweepJob] = []
    problems: dict[str, Problem] = {}
    for index, overrides in enumerate(override_lists):
        try:
            words = [*given.hydra, *overrides]
            with locating_problems(words, given.config_dirs):
                composed = given.variations.compose(words, given.config_dirs)
                checked = check_composed(composed, given.config_dirs, by=check)
            jobs.append(
                SweepJob(
                    overrides=tuple(overrides),
                    config=checked.config,
                    label=_label(given.varied, overrides) or checked.config.run.name,
                    metrics=tuple(metric_names(checked)),
                )
            )
        except ConfigError as error:
            several = len(override_lists) > 1
            which = f" (job {index} of {len(override_lists)}: {' '.join(overrides)})" if several else ""
            for problem in error.problems:
                problems.setdefault(str(problem), replace(problem, message=f"{problem.message}{which}"))
    if problems:
        raise ConfigError(*problems.values())
    return jobs


def check_same_place(jobs: Sequence[SweepJob]) -> None:
    """Check that the jobs differ in no field by which their runs cannot be told apart.

    Raises:
        ConfigError: with every such field: those of the place where runs are recorded, and those that alone make no
            other run.
    """
    first: dict[str, Mapping[str, object]] = {}
    problems = {}
    for job in jobs:
        fields = flat(plain(job.config))
        place = {key: value for key, value in fields.items() if key in _PLACE}
        for one, other in ((first.setdefault(job.digest, fields), fields), (first.setdefault("", place), place)):
            for key in dict.fromkeys([*one, *other]):
                if one.get(key) != other.get(key):
                    values = masked(f"{one.get(key)!r} and {other.get(key)!r}")
                    problems[key] = Problem(
                        key, f"differs between runs of the sweep ({values}), but makes no other run; give it one value"
                    )
    if problems:
        raise ConfigError(*problems.values())


_PLACE = ("run.folder", "tracking.enabled", "tracking.uri", "tracking.experiment")
"""Fields that are one for the sweep and all its runs."""


def _label(varied: Mapping[int, str], overrides: Sequence[str]) -> str:
    """Return the values that the varied overrides have in a job."""
    names = short_names(list(varied.values()))
    return ", ".join(f"{names[key]}={masked(_rounded(overrides[at].partition('=')[2]))}" for at, key in varied.items())


def hash_of(*values: object) -> str:
    """Return a SHA-256 hash of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

"""Jobs of a sweep: its runs before they start, checked, each with a label and a digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from expkit.config.load import plain
from expkit.config.schema import Config
from expkit.config.source_lines import locating_problems
from expkit.errors import ConfigError, Problem
from expkit.network.elaborate import network_spec
from expkit.preflight import check, check_composed
from expkit.provenance import digest_of
from expkit.recorded import metric_names
from expkit.redact import masked
from expkit.run_folder import config_digest, flat, short_names
from expkit.sweeps.given_overrides import GivenOverrides

__all__ = [
    "SEEDS",
    "SweepJob",
    "check_jobs",
    "check_same_place",
    "configuration_of",
    "hash_of",
    "is_under",
    "replicate_of",
]

SEEDS = ("run.seed", "data.split.seed")
"""Keys that are replicates in every sweep."""


@dataclass(frozen=True, kw_only=True)
class SweepJob:
    """A run of a sweep before it starts, checked."""

    overrides: tuple[str, ...]
    config: Config
    label: str
    """The values that differ from those of the other runs: ``units=64, rate=0.1, seed=3``."""
    point: str
    """The label of its configuration, without those of its replicate: ``units=64, rate=0.1``."""
    metrics: tuple[str, ...]
    """Names of the metrics of its losses and metrics that it records."""
    replicated: tuple[str, ...] = SEEDS
    """Keys in which the replicates of a configuration differ; a section stands for all of its fields."""

    @cached_property
    def configuration(self) -> str:
        """Hash of everything that changes the run's numbers, but for replicates: equal for runs to be averaged."""
        return configuration_of(flat(plain(self.config)), self.replicated)

    @cached_property
    def replicate(self) -> str:
        """Values of the keys in which replicates differ, as JSON."""
        return replicate_of(flat(plain(self.config)), self.replicated)

    @property
    def metric_kinds(self) -> dict[str, str]:
        """Kinds of its metrics, by name."""
        return {name: metric.kind for name, metric in self.config.train.metrics.items()}

    @cached_property
    def parameters(self) -> int:
        """Number of its trained parameters."""
        return network_spec(self.config.network).trained_parameters

    def with_seed(self, given: GivenOverrides) -> SweepJob:
        """Return the same job with its seed among its overrides and in its label, as its repeats have theirs."""
        overrides = (*self.overrides, f"run.seed={self.config.run.seed}")
        return replace(self, overrides=overrides, label=_label(given, overrides))

    @property
    def digest(self) -> str:
        """Hash of everything that changes the run's numbers, its length or its exports."""
        return hash_of(config_digest(self.config), plain(self.config)["export"])


_NOT_COMPARED = ("run.folder", "run.resume", "tracking.")
"""Keys that say where a run is, and change nothing else."""


def check_jobs(override_lists: Sequence[Sequence[str]], given: GivenOverrides) -> list[SweepJob]:
    """Return the jobs of lists of overrides.

    Args:
        override_lists: the overrides of each job: one for each of the command line, then those of its replicate.
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
                    label=_label(given, overrides) or checked.config.run.name,
                    point=_label(given, overrides[: len(given.items)]) or checked.config.run.name,
                    metrics=tuple(metric_names(checked.config, ema=bool(checked.ema_names))),
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


def _label(given: GivenOverrides, overrides: Sequence[str]) -> str:
    """Return the values that the varied overrides have in a job, and those of the overrides that follow them."""
    values = {key: overrides[index].partition("=")[2] for index, key in given.varied.items()}
    values |= {
        key.lstrip("+"): value for key, _, value in (word.partition("=") for word in overrides[len(given.items) :])
    }
    names = short_names(list(values))
    return ", ".join(f"{names[key]}={masked(given.shown(value))}" for key, value in values.items())


def is_under(key: str, sections: Sequence[str]) -> bool:
    """Return True if a key is one of these, or inside one of them."""
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def configuration_of(fields: Mapping[str, object], replicated: Sequence[str]) -> str:
    """Return the hash that the replicates of a configuration share.

    Args:
        fields: values of a run by dotted key.
        replicated: keys in which replicates differ.
    """
    compared = {
        key: value
        for key, value in fields.items()
        if not is_under(key, replicated) and not key.startswith(_NOT_COMPARED)
    }
    return digest_of(compared, default=str)


def replicate_of(fields: Mapping[str, object], replicated: Sequence[str]) -> str:
    """Return the values of the keys in which replicates differ, as JSON: equal for runs to be compared in pairs."""
    own = {key: value for key, value in fields.items() if is_under(key, replicated)}
    return json.dumps(own, sort_keys=True, default=str)


def hash_of(*values: object) -> str:
    """Return a SHA-256 hash of plain data, independent of the order of keys."""
    return digest_of(values)

"""Replicates of a sweep: runs of one configuration that differ in seeds, or in other keys that are not compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from expkit.config.load import plain
from expkit.errors import ConfigError, Problem, unknown
from expkit.run_folder import flat
from expkit.sweeps.given_overrides import EMPTY, GivenOverrides
from expkit.sweeps.jobs import SEEDS, SweepJob, is_under

__all__ = ["Replication", "replication_of"]

Check = Callable[[Sequence[Sequence[str]]], list[SweepJob]]
"""Returns the jobs of lists of overrides, or raises ``ConfigError`` with the mistakes of all."""


@dataclass(frozen=True, kw_only=True)
class Replication:
    """Replicates that every point of a sweep gets."""

    points: GivenOverrides
    """The overrides of the command line without those that vary a replicate."""
    varied: tuple[tuple[str, ...], ...]
    """Every combination of the overrides that vary replicates; one empty combination if none does."""
    repeats: int
    """Runs of every combination, with consecutive seeds."""
    keys: tuple[str, ...]
    """Keys whose values tell replicates of a configuration apart; a section stands for all of its fields."""

    @property
    def count(self) -> int:
        """Number of runs of a point."""
        return len(self.varied) * self.repeats

    def jobs(self, points: Sequence[Sequence[str]], check: Check) -> list[list[SweepJob]]:
        """Return the jobs of points, those of each point in one list: its combinations, each with all of its repeats.

        Args:
            points: the overrides of each point.
            check: makes jobs of overrides, with labels that name the overrides after those of the command line.

        Raises:
            ConfigError: with the mistakes of all jobs.
        """
        first = check([[*point, *words] for point in points for words in self.varied])
        if self.repeats > 1:
            _check_one_seed(first, self.repeats)
            first = [job.with_seed(self.points) for job in first]
        later = check(
            [
                [*job.overrides[:-1], f"run.seed={job.config.run.seed + repeat}"]
                for job in first
                for repeat in range(1, self.repeats)
            ]
        )
        more = self.repeats - 1
        jobs = [
            replace(each, replicated=self.keys)
            for index, job in enumerate(first)
            for each in (job, *later[index * more : (index + 1) * more])
        ]
        return [jobs[start : start + self.count] for start in range(0, len(jobs), self.count)]

    def following(self, jobs: Iterable[Sequence[SweepJob]]) -> Replication:
        """Return replication whose keys include those that follow a replicate, as ``seed: ${run.seed}`` does.

        Args:
            jobs: the jobs of every point.
        """
        following: dict[str, None] = {}
        for replicates in jobs:
            fields = [flat(plain(job.config)) for job in replicates]
            for key in dict.fromkeys(key for each in fields for key in each):
                if not is_under(key, self.keys) and len({repr(each.get(key)) for each in fields}) > 1:
                    following[key] = None
        return replace(self, keys=(*self.keys, *following))


def replication_of(given: GivenOverrides, repeats: int, repeat_over: Sequence[str]) -> Replication:
    """Return the replication of a sweep.

    Args:
        given: the overrides of the command line.
        repeats: ``hydra.sweeper.repeats``.
        repeat_over: ``hydra.sweeper.repeat_over``.

    Raises:
        ConfigError: a key does not vary, seeds are requested twice, or a replicate has no list of values.
    """
    keys = tuple(dict.fromkeys([*SEEDS, *repeat_over]))
    replicates = {index: key for index, key in given.varied.items() if is_under(given.items[index].key_or_group, keys)}
    problems = [
        Problem(
            key,
            "is a replicate, of which every value is run, and an interval has infinitely many; write "
            "range(START,STOP) or A,B, or for seeds hydra.sweeper.repeats=5",
        )
        for index, key in replicates.items()
        if given.items[index].is_interval_sweep()
    ]
    varied = [item.key_or_group for index, item in enumerate(given.items) if index in given.varied]
    problems += [
        Problem(
            "hydra.sweeper.repeat_over",
            unknown(f"'{key}' does not vary in this sweep", key, varied, label="write KEY=A,B or omit it; these vary"),
        )
        for key in repeat_over
        if key not in SEEDS and not any(is_under(name, (key,)) for name in varied)
    ]
    names = {given.items[index].key_or_group for index in replicates}
    if repeats > 1 and "run.seed" in names:
        problems.append(_seed_varies(repeats))
    if problems:
        raise ConfigError(*problems)
    points = tuple(item for index, item in enumerate(given.items) if index not in replicates)
    alternatives = [
        [f"{given.items[index].get_key_element()}={value}" for value in given.alternatives(index)]
        for index in replicates
    ]
    if empty := [key for key, values in zip(replicates.values(), alternatives, strict=True) if not values]:
        raise ConfigError(*(Problem(key, EMPTY) for key in empty))
    return Replication(
        points=replace(given, items=points),
        varied=tuple(itertools.product(*alternatives)),
        repeats=repeats,
        keys=keys,
    )


def _check_one_seed(jobs: Sequence[SweepJob], repeats: int) -> None:
    """Check that the jobs of a configuration have the same seed, however the command line has written it.

    Raises:
        ConfigError: they have several.
    """
    seeds: dict[str, int] = {}
    if any(seeds.setdefault(job.configuration, job.config.run.seed) != job.config.run.seed for job in jobs):
        raise ConfigError(_seed_varies(repeats))


def _seed_varies(repeats: int) -> Problem:
    return Problem(
        "hydra.sweeper.repeats",
        f"{repeats} repeats take {repeats} seeds from run.seed on, but run.seed varies in this sweep; omit repeats, or "
        "give run.seed one value",
    )

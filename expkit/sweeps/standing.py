"""Standing of a sweep: its configurations over their replicates, the best of them, which of the others are tied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from expkit.metric_names import EMA
from expkit.sweeps.objective import Objective
from expkit.sweeps.statistics import Ranking, Sample, Summary, chance_difference, rank, summarize
from expkit.sweeps.sweep_folder import RunStatus

__all__ = ["Configuration", "Entry", "OnTie", "Standing", "mean_text", "score_text", "standing_of"]

OnTie = Literal["simplest", "first"]
_FRACTIONS = ("accuracy", "top_k")
"""Kinds of metrics that are a fraction of the examples."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run of a sweep, as its standing needs it."""

    name: str
    """Name of its folder."""
    label: str
    configuration: str
    """Hash that replicates share."""
    point: str
    """Label of the configuration."""
    replicate: str
    """Values of the keys in which replicates differ; equal for runs to be compared in pairs."""
    status: RunStatus
    metrics: Mapping[str, float]
    """The last value of every metric."""
    parameters: int | None = None
    """Number of trained parameters."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Runs that differ in replicates only."""

    label: str
    runs: tuple[Entry, ...]
    place: int
    """Counted from 0, in the order of the sweep."""

    def sample(self, metric: str) -> dict[str, float]:
        """Return the finite values of a metric, of finished runs, by replicate."""
        return {
            run.replicate: run.metrics[metric]
            for run in self.runs
            if run.status == "FINISHED" and math.isfinite(run.metrics.get(metric, math.nan))
        }

    def without(self, metric: str) -> list[Entry]:
        """Return the runs without a value: failed, pruned, not finished, or not finite."""
        return [run for run in self.runs if run.replicate not in self.sample(metric)]

    def result(self, objectives: Sequence[Objective]) -> str:
        """Return the mean of every objective with its interval, the number of runs, and the label."""
        samples = [(item, list(self.sample(item.metric).values())) for item in objectives]
        means = [
            f"{item.metric} {mean_text(summarize(values, item.mode)) if values else 'not finite'}"
            for item, values in samples
        ]
        most = max(len(values) for _, values in samples)
        return f"{', '.join(means)}{f' ({most} runs)' if most > 1 else ''}: {self.label}"

    @property
    def parameters(self) -> int | None:
        """Number of trained parameters."""
        return next((run.parameters for run in self.runs if run.parameters is not None), None)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Configurations of a sweep, ranked by the mean of their objective."""

    objective: Objective
    configurations: tuple[Configuration, ...]
    """Those with a value, best mean first, then the others."""
    ranking: Ranking | None
    """Ranking of those with a value, which are the first ones; ``None`` if there is none."""
    on_tie: OnTie | None
    examples: Mapping[str, int] = field(default_factory=dict)
    """Number of examples of the splits."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Kinds of the metrics, by name."""

    @cached_property
    def summaries(self) -> tuple[Summary, ...]:
        """Summaries of the configurations with a value, in their order."""
        return self.summaries_of(self.objective.metric)

    def summaries_of(self, metric: str) -> tuple[Summary, ...]:
        """Return the summaries of a metric, of the configurations with a value of it, in their order."""
        samples = [configuration.sample(metric) for configuration in self.configurations]
        return tuple(summarize(list(sample.values()), self.objective.mode) for sample in samples if sample)

    @property
    def ranked(self) -> tuple[Configuration, ...]:
        """Configurations with a value, best mean first."""
        return self.configurations[: len(self.ranking.order) if self.ranking is not None else 0]

    @property
    def tied(self) -> tuple[Configuration, ...]:
        """Configurations that do not differ from the best mean at 5 %."""
        return tuple(self.ranked[place] for place in self.ranking.tied) if self.ranking is not None else ()

    @property
    def best(self) -> Configuration | None:
        """The best mean, or of those tied with it the one that ``on_tie`` asks for."""
        if not self.ranked:
            return None
        tied = [self.ranked[0], *self.tied]
        if self.on_tie == "simplest":
            return min(tied, key=lambda item: (item.parameters is None, item.parameters or 0, item.place))
        return min(tied, key=lambda item: item.place) if self.on_tie == "first" else tied[0]

    @property
    def best_summary(self) -> Summary:
        """The summary of the best configuration, of which there must be one."""
        assert self.best is not None
        return self.summaries[self.ranked.index(self.best)]

    @property
    def replicated(self) -> bool:
        """True if a configuration has several runs."""
        return any(len(configuration.runs) > 1 for configuration in self.configurations)

    @property
    def chance(self) -> float | None:
        """Difference from the best mean that may be chance, with one run each; ``None`` if it cannot be said."""
        split, _, name = self.objective.metric.removesuffix(f"/{EMA}").partition("/")
        if self.best is None or self.replicated or self.kinds.get(name) not in _FRACTIONS:
            return None
        fraction, examples = self.summaries[0].mean, self.examples.get(split, 0)
        return chance_difference(fraction, examples) if examples and 0 <= fraction <= 1 else None

    @property
    def result(self) -> str:
        """The best configuration with its mean and interval."""
        assert self.best is not None
        return self.best.result([self.objective])

    @property
    def verdict(self) -> str | None:
        """The configurations that are tied with the best, or that none is; ``None`` if there is nothing to compare."""
        if self.ranking is None or len(self.ranked) < 2:
            return None
        others = len(self.ranked) - 1
        if len(self.ranking.untested) == others:
            if self.chance is not None:
                return f"one seed: differences below about {self.chance:.2g} are chance"
            if self.replicated:
                return "no test: a configuration has one run"
            return "one seed: hydra.sweeper.repeats=5 shows which differences are chance"
        if self.ranking.single:
            return f"better than {'the other' if others == 1 else f'each of the {others} others'} at 5 %"
        said = self._tie() if self.tied else []
        if self.ranking.untested:
            said.append(f"{len(self.ranking.untested)} with one run not compared")
        elif self.ranking.ahead:
            which = "" if self.best is self.ranked[0] else "the best mean is "
            said.append(f"{which}ahead of the {others} others together at 5 %")
        return "; ".join(said)

    def _tie(self) -> list[str]:
        """Return with whom the best is tied, or of whom it was chosen."""
        if self.best is self.ranked[0]:
            labels = [item.label for item in self.tied]
            many = f"tied with {len(labels)} other{'s' if len(labels) > 1 else ''} at 5 %"
        else:
            labels = [f"{self.ranked[0].label} (best mean)"]
            labels += [item.label for item in self.tied if item is not self.best]
            many = f"chosen as the {self.on_tie} of {len(labels) + 1} tied at 5 %, before"
        return [f"{many}: {labels[0]}", *labels[1:3], *([f"and {len(labels) - 3} more"] if len(labels) > 3 else [])]

    def against(self, item: Configuration) -> str:
        """Return whether a configuration is tied with the best mean, and the adjusted p-value."""
        if self.ranking is None or item not in self.ranked or len(self.ranked) < 2:
            return ""
        place = self.ranked.index(item)
        if place == 0:
            return "best mean"
        found = self.ranking.p_values.get(place)
        if found is None:
            return "not compared"
        return f"{'tied' if item in self.tied else 'worse'}, {'p < 0.001' if found < 0.001 else f'p = {found:.3f}'}"

    @property
    def choice(self) -> str | None:
        """Sentence about a choice by test data; ``None`` for another objective."""
        if not self.objective.metric.startswith("test/"):
            return None
        return "chosen by test data, whose value of the best is therefore too good; choose by valid/..."


def standing_of(
    entries: Sequence[Entry],
    objective: Objective,
    on_tie: OnTie | None = None,
    examples: Mapping[str, int] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Standing:
    """Return the standing of runs, given in the order of the sweep."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.configuration, []).append(entry)
    found = [
        Configuration(label=runs[0].point, runs=tuple(runs), place=place) for place, runs in enumerate(groups.values())
    ]
    metric = objective.metric
    samples: list[Sample] = [item.sample(metric) for item in found]
    valued = [index for index, sample in enumerate(samples) if sample]
    ranking, order = None, []
    if valued:
        most = max(map(len, samples))
        few = [
            place
            for place, index in enumerate(valued)
            if found[index].without(metric) or 2 * len(samples[index]) < most
        ]
        positions = rank([samples[index] for index in valued], objective.mode, few)
        order = [valued[place] for place in positions.order]
        places = {place: new for new, place in enumerate(positions.order)}
        ranking = Ranking(
            order=tuple(range(len(order))),
            p_values={places[place]: value for place, value in positions.p_values.items()},
            together=positions.together,
        )
    rest = [index for index in range(len(found)) if index not in order]
    return Standing(
        objective=objective,
        configurations=tuple(found[index] for index in [*order, *rest]),
        ranking=ranking,
        on_tie=on_tie,
        examples=examples or {},
        kinds=kinds or {},
    )


def mean_text(summary: Summary) -> str:
    """Return a mean with its interval: ``0.9789 ± 0.0041``, or ``0.9789 (0.9741 to 0.9822)`` of a bootstrap."""
    mean = score_text(summary.mean)
    if summary.interval is None:
        return mean
    if summary.method == "BCa":
        return f"{mean} ({score_text(summary.interval[0])} to {score_text(summary.interval[1])})"
    half = summary.half_width or 0.0
    decimals = 5e-5 <= half < 1e-3 <= abs(summary.mean) < 1e4
    return f"{mean} ± {f'{half:.4f}' if decimals else score_text(half)}"


def score_text(value: float) -> str:
    """Return a score with four decimals, or with four digits if it is very large or small."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.4g}"

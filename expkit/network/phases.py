"""Phases of a training step: the variables that each trains, and the names of its slots and counters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from expkit.config.sections.train import TrainConfig
from expkit.errors import ConfigError, Problem, comma_list, unknown
from expkit.kinds.base_optimizer import BaseOptimizer
from expkit.kinds.wrapped_optimizer import WrappedOptimizer
from expkit.network.names import join
from expkit.network.spec import NetworkSpec

__all__ = ["Phase", "phases", "wrong_losses"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """An optimizer with the losses that it lowers and the variables that it trains; a step does all phases in order."""

    name: str
    """``""`` for the single phase of a training without ``train.phases``."""
    losses: tuple[str, ...]
    variables: tuple[str, ...]
    optimizer: BaseOptimizer
    at: str
    """Path of the optimizer in the configuration."""
    steps: int = 1
    """Updates in each training step."""

    @property
    def scalars(self) -> tuple[str, ...]:
        """Full names of the scalars that its variables share: ``beta1_power``, of a phase ``d/beta1_power``."""
        return tuple(join(self.name, scalar) for scalar in self.optimizer.scalars)

    def slots(self, variable: str) -> tuple[str, ...]:
        """Return the full names of a variable's slots: ``w/Adam``, of a phase ``d/w/Adam``; none if not trained."""
        return (
            tuple(join(self.name, slot) for slot in self.optimizer.slot_names(variable))
            if self.trains(variable)
            else ()
        )

    def trains(self, variable: str) -> bool:
        """Return whether it trains a variable."""
        return variable in self._trained

    @cached_property
    def _trained(self) -> frozenset[str]:
        return frozenset(self.variables)


def phases(train: TrainConfig, optimizer: BaseOptimizer, spec: NetworkSpec) -> tuple[Phase, ...]:
    """Return the phases of a training step; without ``train.phases`` a single one that trains everything.

    Args:
        train: losses and phases; names of losses may be wrong.
        optimizer: the optimizer of phases without their own.
        spec: the network.

    Raises:
        ConfigError: with every phase that trains nothing, every variable that is in no phase or in too many.
    """
    if not train.phases:
        return (
            Phase(name="", losses=tuple(train.losses), variables=spec.trainable, optimizer=optimizer, at="optimizer"),
        )
    problems: list[Problem] = []
    found = tuple(
        Phase(
            name=name,
            losses=phase.losses,
            variables=_matched(phase.variables, f"train.phases.{name}.variables", spec, problems),
            optimizer=phase.optimizer or optimizer,
            at="optimizer" if phase.optimizer is None else f"train.phases.{name}.optimizer",
            steps=phase.steps,
        )
        for name, phase in train.phases.items()
    )
    problems += _wrapped(found)
    if not problems:  # Else the variables of a phase are not known.
        problems += _unphased(found, spec)
        problems += _ambiguous(found, spec)
    if train.update == "joint":
        problems += _not_joint(found, spec)
    if problems:
        raise ConfigError(*problems)
    return found


def wrong_losses(train: TrainConfig) -> Iterator[Problem]:
    """Yield the losses of phases that are not in ``train.losses``, and the losses in no phase."""
    losses, given = train.losses, train.phases
    for name, phase in given.items():
        for loss in phase.losses:
            if loss not in losses:
                at = f"train.phases.{name}.losses"
                yield Problem(at, unknown(f"no loss '{loss}'", loss, losses, label="losses"))
        if repeated := sorted({loss for loss in phase.losses if phase.losses.count(loss) > 1}):
            yield Problem(f"train.phases.{name}.losses", f"{comma_list(repeated)} is given more than once")
    lowered = {loss for phase in given.values() for loss in phase.losses}
    if given and (idle := [loss for loss in losses if loss not in lowered]):
        yield Problem(
            "train.losses",
            f"no phase lowers {comma_list(idle)}; add it to the losses of a phase, make it a metric, or leave it out",
        )


def _matched(pattern: str, at: str, spec: NetworkSpec, problems: list[Problem]) -> tuple[str, ...]:
    """Return the trainable variables that a regular expression matches."""
    try:
        every = [name for name in spec.variables if re.fullmatch(pattern, name)]
    except re.error as error:
        problems.append(Problem(at, f"'{pattern}' is not a regular expression: {error}"))
        return ()
    matched = tuple(name for name in every if spec.variables[name].trainable)
    if every and not matched:
        message = f"'{pattern}' matches only variables that are not trained: {comma_list(every)}; leave the phase out"
        problems.append(Problem(at, f"{message}, or train one of them"))
    elif not matched:
        message = f"'{pattern}' matches no variable, so the phase trains nothing; trained variables"
        problems.append(Problem(at, f"{message}: {comma_list(spec.trainable)}"))
    return matched


def _wrapped(found: Sequence[Phase]) -> Iterator[Problem]:
    """Yield the phases whose optimizer names its variables itself."""
    for phase in found:
        if isinstance(phase.optimizer, WrappedOptimizer):
            yield Problem(
                f"{phase.at}.kind",
                f"'{phase.optimizer.kind}' wraps an optimizer of TensorFlow's, which does not name its slots by phase; "
                f"give the phase {phase.name} an optimizer of another kind",
            )


def _unphased(found: Sequence[Phase], spec: NetworkSpec) -> Iterator[Problem]:
    """Yield a problem if no phase trains a trainable variable."""
    if absent := [name for name in spec.trainable if not any(phase.trains(name) for phase in found)]:
        yield Problem(
            "train.phases",
            f"no phase trains {comma_list(absent)}; let the variables of a phase match them, or set trainable: false "
            "on their layers",
        )


def _not_joint(found: Sequence[Phase], spec: NetworkSpec) -> Iterator[Problem]:
    """Yield why phases cannot update at once."""
    both: dict[tuple[str, ...], list[str]] = {}
    for name in spec.trainable:
        if len(several := tuple(phase.name for phase in found if phase.trains(name))) > 1:
            both.setdefault(several, []).append(name)
    for several, names in both.items():
        yield Problem(
            f"train.phases.{several[1]}.variables",
            f"the phases {comma_list(several)} update at once, but each trains {comma_list(names)}; with update: "
            "joint a variable is in one phase only, with update: alternating it may be in several",
        )
    for phase in found:
        if phase.steps > 1:
            yield Problem(
                f"train.phases.{phase.name}.steps",
                f"is {phase.steps}, but with update: joint all phases update once, at the same time; set it to 1, or "
                "update: alternating",
            )


def _ambiguous(found: Sequence[Phase], spec: NetworkSpec) -> Iterator[Problem]:
    """Yield the phases whose slots could be taken for those of another variable."""
    for phase in found:
        names = {join(phase.name, name): name for name in phase.variables}
        if both := next((name for name in names if name in spec.variables), None):
            yield Problem(
                f"train.phases.{phase.name}",
                f"the slots of '{names[both]}' would be named as those of '{both}'; give the phase another name than "
                "a scope of the network",
            )
        elif taken := next((name for name in phase.scalars if name in spec.variables), None):
            yield Problem(
                f"train.phases.{phase.name}",
                f"its optimizer's '{taken}' would be named as a variable of the network; rename the phase",
            )

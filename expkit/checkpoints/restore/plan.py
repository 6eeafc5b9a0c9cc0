"""The restore plan as a value: the source of every variable's value, with all issues that make it incomplete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Literal

from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.ownership import Owned, owned
from expkit.config.sections.restore import SourceConfig, Transform
from expkit.errors import CheckpointError, Problem, limit_problems
from expkit.kinds.layers.pytorch import Layout
from expkit.network.names import ema_name
from expkit.tensor_spec import TensorSpec

__all__ = ["Assignment", "Issue", "IssueKind", "OpenedCheckpoint", "Origin", "Plan", "Role", "Target"]

Role = Literal["variable", "average", "slot", "counter", "state"]
"""Variable of the network; its EMA variable; optimizer slot; scalar of the training, as ``global_step``; state that a
layer carries from batch to batch."""
IssueKind = Literal["missing", "average", "slot", "shape", "dtype", "transform", "rule", "collision", "pattern"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Restore target: a variable that must get a value."""

    spec: TensorSpec
    role: Role = "variable"
    owner: str | None = None
    """Owner of an EMA variable or a slot."""
    ema_required: bool = False
    """True for a variable if ``weights: ema`` requires its EMA, and for an EMA variable if the checkpoint must contain
    it; otherwise it may start as its owner does."""
    pytorch: Layout | None = None
    """Its layout in PyTorch where it is another one."""


@dataclass(frozen=True)
class OpenedCheckpoint:
    """An opened file of variables with its section of the configuration."""

    at: str
    """Path of the section in the configuration."""
    source: VariableSource
    config: SourceConfig
    _: KW_ONLY
    composed: frozenset[str] = frozenset()
    """Variables that are made of several tensors of the file, and have the network's layout already."""

    @property
    def variables(self) -> Mapping[str, TensorSpec]:
        """Variables in the file."""
        return self.source.variables

    @cached_property
    def owned(self) -> Owned:
        """EMA variables, slots and counters in the file, by owner."""
        return owned(self.variables)

    def counter(self, name: str) -> str:
        """Return the name that a counter of the training has in the file; a phase's is under the phase's name."""
        if name in self.variables:
            return name
        return self.owned.counters.get(name.rpartition("/")[2], name)

    def ema_of(self, name: str) -> str:
        """Return the name that the EMA of a variable has in the file, or would have."""
        return self.owned.emas.get(name, ema_name(name))


@dataclass(frozen=True)
class Origin:
    """The rule that gave a variable its value."""

    rule: str = "same name"
    """``rename[0]`` or ``sources.head.rename[0]``; ``same name`` if no rule was needed."""
    mapping: str = ""
    """The rule's names: ``'tower/(.*)' -> 'encoder/\\1'``."""
    note: str = ""
    """Difference from the value that the rule alone would give."""

    @property
    def without_note(self) -> str:
        """The rule with its names."""
        return " ".join(text for text in (self.rule, self.mapping) if text)

    def __str__(self) -> str:
        return ", ".join(text for text in (self.without_note, self.note) if text)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A variable, and the source of its value."""

    variable: str
    checkpoint: str
    """Path in the configuration that names the file."""
    sources: tuple[str, ...]
    """Names in the file; several are concatenated."""
    weights: Literal["raw", "ema"]
    """``ema`` if the sources are EMA variables."""
    spec: TensorSpec
    """Shape and dtype of the variable."""
    role: Role = "variable"
    axis: int = 0
    """Dimension along which several sources are concatenated."""
    transforms: tuple[Transform, ...] = ()
    origin: Origin = Origin()

    @property
    def changes(self) -> str:
        """Concatenation and transforms as text; empty if the value is used unchanged."""
        concat = [f"concat axis {self.axis}"] if len(self.sources) > 1 else []
        return ", ".join([*concat, *map(str, self.transforms)])


@dataclass(frozen=True)
class Issue:
    """One reason why a plan is incomplete."""

    kind: IssueKind
    about: str
    """The variable, rule or regular expression."""
    problem: Problem


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Assignments of a restore, or the issues that prevent it."""

    assignments: tuple[Assignment, ...] = ()
    kept_initial: tuple[str, ...] = ()
    """Variables that keep their initial values, as configured."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Names in the file of the variables that keep their initial values because a rule skips another shape, and of the
    states of batches of another size."""
    unused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that no assignment reads, by the path in the configuration that names their file."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files, by the path in the configuration that names them."""
    variables: int = 0
    """Number of variables of the network."""
    issues: tuple[Issue, ...] = ()

    @property
    def complete(self) -> bool:
        """True if every variable gets its value, and every rule has an effect."""
        return not self.issues

    def about(self, kind: IssueKind) -> tuple[str, ...]:
        """Return the variables, rules or regular expressions with an issue of one kind."""
        return tuple(dict.fromkeys(issue.about for issue in self.issues if issue.kind == kind))

    @property
    def loaded(self) -> str:
        """Number of the network's variables that get a value, of all, as ``42/42``."""
        loaded = sum(assignment.role == "variable" for assignment in self.assignments)
        return f"{loaded}/{self.variables}"

    @property
    def summary(self) -> str:
        """The loaded variables and the files, as ``42/42 variables from old/model``."""
        return f"{self.loaded} variables from {', '.join(self.files.values())}"

    def check(self) -> None:
        """Raise an error unless the plan is complete.

        Raises:
            CheckpointError: with every issue.
        """
        if self.issues:
            raise CheckpointError(*limit_problems([issue.problem for issue in self.issues]))

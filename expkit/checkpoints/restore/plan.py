"""The restore plan as a value: what goes into which variable, what does not, and why it is incomplete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from expkit.config.sections.restore import SourceConfig, Transform
from expkit.errors import CheckpointError, Problem, limit_problems

__all__ = ["Gap", "GapKind", "Offer", "Origin", "Pair", "Plan", "Role", "Shape", "Wanted"]

Shape = tuple[int, ...]
Role = Literal["variable", "average", "slot", "counter"]
"""A network's variable; what is kept beside one; a scalar of the training: ``global_step``, powers of Adam's betas."""
GapKind = Literal["missing", "average", "slot", "shape", "dtype", "transform", "rule", "collision", "pattern"]


@dataclass(frozen=True)
class Wanted:
    """What is to get a value."""

    shape: Shape
    dtype: str
    role: Role = "variable"
    of: str | None = None
    """The variable that an average or a slot is kept beside."""
    averaged: bool = False
    """Of a variable: its average must be there where averages are asked for. Of an average: it must be there itself,
    where it would else start as its variable does."""


@dataclass(frozen=True)
class Offer:
    """A file, and what is asked of it."""

    at: str
    """Path in the configuration."""
    file: str
    shapes: Mapping[str, Shape]
    """By name in the file."""
    dtypes: Mapping[str, str]
    asked: SourceConfig


@dataclass(frozen=True)
class Origin:
    """The rule that gave a variable its value."""

    rule: str = "same name"
    """``rename[0]`` or ``sources.head.rename[0]``; ``same name`` where no rule was needed."""
    words: str = ""
    """What the rule says: ``'tower/(.*)' -> 'encoder/\\1'``."""
    note: str = ""
    """How the value differs from what the rule alone would give."""

    @property
    def without_note(self) -> str:
        """The rule and what it says."""
        return " ".join(text for text in (self.rule, self.words) if text)

    def __str__(self) -> str:
        return ", ".join(text for text in (self.without_note, self.note) if text)


@dataclass(frozen=True)
class Pair:
    """A variable and where its value comes from."""

    variable: str
    offer: str
    """Which file, by the path in the configuration that names it."""
    sources: tuple[str, ...]
    """Names in the file; several are joined."""
    weights: Literal["raw", "ema"]
    """Whether the sources are averages."""
    shape: Shape
    """Of the variable."""
    dtype: str
    role: Role = "variable"
    axis: int = 0
    """Dimension along which several are joined."""
    steps: tuple[Transform, ...] = ()
    """What happens to the value, in order."""
    origin: Origin = Origin()

    @property
    def changes(self) -> str:
        """What happens to the value, in words; empty where it is taken as it is."""
        joined = [f"concat axis {self.axis}"] if len(self.sources) > 1 else []
        return ", ".join([*joined, *map(str, self.steps)])


@dataclass(frozen=True)
class Gap:
    """Why a plan is incomplete: one reason."""

    kind: GapKind
    about: str
    """The variable, rule or regular expression."""
    problem: Problem


@dataclass(frozen=True)
class Plan:
    """What a restore will do."""

    pairs: tuple[Pair, ...] = ()
    kept_initial: tuple[str, ...] = ()
    """What keeps its initial value, as asked."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """What keeps its initial value because of another shape, as a rule allows: the name in the file."""
    spare: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names that nothing reads, by the path in the configuration that names their file."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files, by the path in the configuration that names them."""
    variables: int = 0
    """How many variables the network has."""
    gaps: tuple[Gap, ...] = ()
    """Why it is incomplete; empty where it is not."""

    @property
    def complete(self) -> bool:
        """Whether every variable gets what is asked for, and every rule does something."""
        return not self.gaps

    def about(self, kind: GapKind) -> tuple[str, ...]:
        """Return the variables, rules or regular expressions of one kind of gap."""
        return tuple(dict.fromkeys(gap.about for gap in self.gaps if gap.kind == kind))

    @property
    def loaded(self) -> str:
        """How many of the network's variables get a value, ``42/42``."""
        loaded = sum(pair.role == "variable" for pair in self.pairs)
        return f"{loaded}/{self.variables}"

    def check(self) -> None:
        """Raise what makes the plan incomplete.

        Raises:
            CheckpointError: with every reason.
        """
        if self.gaps:
            raise CheckpointError(*limit_problems([gap.problem for gap in self.gaps]))

"""The section ``restore``: which values a run starts from, and how names in a checkpoint become variables."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from expkit.registry import NonNegative, Section

__all__ = ["RenameRule", "RestoreConfig", "SourceConfig", "Transform", "Weights"]

Weights = Literal["raw", "ema", "ema_if_present"]
Dtype = Literal["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"]


class Transform(Section):
    """One change to a value on its way into a variable; exactly one field."""

    transpose: tuple[NonNegative, ...] | None = None
    """The dimensions in their new order: ``[1, 0]``."""
    reshape: tuple[int, ...] | None = None
    """Sizes of all dimensions; one may be -1, which takes what is left."""
    slice: tuple[tuple[NonNegative, NonNegative | None] | None, ...] | None = None
    """Part of each dimension: ``[first, after_last]``, ``[first, null]`` up to the end, ``null`` for all of it."""
    pad: tuple[tuple[NonNegative, NonNegative], ...] | None = None
    """Zeros around each dimension: ``[before, after]``."""
    scale: float | None = None
    """Number to multiply by."""
    cast: Dtype | None = None
    """Type of the values: ``float32``."""

    @model_validator(mode="after")
    def _one(self) -> Transform:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            allowed = ", ".join(type(self).__pydantic_fields__)
            raise ValueError(f"a transform is one of {allowed}; got {', '.join(given) or 'none'}")
        return self

    def told(self) -> str:
        """Return the transform in words, ``transpose [1, 0]``."""
        return next(f"{name} {_plain(value)}" for name, value in self if value is not None)


class RenameRule(Section):
    """A rule from names in a checkpoint to variables; exactly one of ``name``, ``prefix`` and ``pattern``."""

    name: str | None = None
    """Name in the checkpoint."""
    prefix: str | None = None
    """What names in the checkpoint begin with; ``to`` takes its place."""
    pattern: str | None = None
    r"""Regular expression over whole names in the checkpoint; ``to`` may use its groups, as ``\1``."""
    to: str | None = None
    """Name of the variable; the name in the checkpoint when not given."""
    concat: tuple[str, ...] = ()
    r"""More names in the checkpoint, joined to the first; with a pattern they may use its groups, as ``\1``."""
    axis: NonNegative = 0
    """Dimension along which ``concat`` joins."""
    transform: tuple[Transform, ...] = ()
    """What happens to the value, in order."""
    optional: bool = False
    """Whether the rule may match nothing."""
    on_shape_mismatch: Literal["error", "skip", "slice_or_pad"] = "error"
    """What to do where shapes differ: ``skip`` keeps the initial value, ``slice_or_pad`` cuts off what is too long and
    adds zeros where it is too short."""

    @model_validator(mode="after")
    def _agrees(self) -> RenameRule:
        if sum(word is not None for word in (self.name, self.prefix, self.pattern)) != 1:
            raise ValueError(
                "a rename rule needs exactly one of 'name' (exact), 'prefix' and 'pattern' (regular expression)"
            )
        if self.concat and (self.prefix is not None or self.to is None):
            raise ValueError("a rule with 'concat' needs 'to', and 'name' or 'pattern' in place of 'prefix'")
        if self.pattern is not None:
            for target in (self.to or "", *self.concat):
                try:
                    re.sub(self.pattern, target, "")
                except (re.error, IndexError) as error:
                    raise ValueError(f"'{self.pattern}' -> '{target}' is no regular expression rule: {error}") from None
        return self

    @property
    def word(self) -> str:
        """What the rule looks for."""
        return next(word for word in (self.name, self.prefix, self.pattern) if word is not None)


class SourceConfig(Section):
    """A file to take values from, and the rules for its names."""

    from_: str | None = Field(default=None, alias="from")
    """Checkpoint, folder or run folder, or ``runs:/ID`` of MLflow."""
    weights: Weights = "raw"
    """``ema`` loads the averages straight into the variables, ``ema_if_present`` where the file has them."""
    include: tuple[str, ...] = ()
    """Regular expressions over whole names in the file: no other is taken. None: all are."""
    exclude: tuple[str, ...] = ()
    """Regular expressions over whole names in the file that are not taken."""
    rename: tuple[RenameRule, ...] = ()
    """Rules, in order, for names that differ; of two for one name and one variable the first says how."""

    @model_validator(mode="after")
    def _patterns(self) -> SourceConfig:
        _check_patterns(include=self.include, exclude=self.exclude)
        return self


class RestoreConfig(SourceConfig):
    """What to load before training when the run has no checkpoint of its own; ``from`` is ``null`` for nothing."""

    optimizer: Literal["reset", "restore"] = "reset"
    """Whether slots, other variables of the optimizer and ``global_step`` come from the file too: ``restore`` goes on
    with a training, ``reset`` begins one, at step 0, with a fresh optimizer."""
    keep_initial: tuple[str, ...] = ()
    """Regular expressions over whole names of variables that keep their initial values."""
    sources: dict[str, SourceConfig] = {}
    """More files, by any name, each with rules of its own."""

    @model_validator(mode="after")
    def _sources(self) -> RestoreConfig:
        _check_patterns(keep_initial=self.keep_initial)
        if self.sources and self.from_ is None:
            raise ValueError("'sources' are files besides 'from', which is null; give the first file as 'from'")
        if lacking := [name for name, source in self.sources.items() if source.from_ is None]:
            raise ValueError(f"every source needs 'from'; lacking in: {', '.join(lacking)}")
        return self


def _check_patterns(**fields: tuple[str, ...]) -> None:
    for name, patterns in fields.items():
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{name}: '{pattern}' is no regular expression: {error}") from None


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

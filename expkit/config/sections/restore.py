"""The section ``restore``."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from expkit.registry import NonNegative, Section

__all__ = ["RenameRule", "RestoreConfig", "SourceConfig", "Transform", "WeightLayout", "Weights"]

Weights = Literal["raw", "ema", "ema_if_present"]
WeightLayout = Literal["tensorflow", "pytorch"]
Dtype = Literal["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"]


class Transform(Section):
    """Transform of a restored value; exactly one field."""

    transpose: tuple[NonNegative, ...] | None = None
    """New order of the dimensions: ``[1, 0]``."""
    reshape: tuple[int, ...] | None = None
    """New shape; one size may be -1, which is inferred."""
    slice: tuple[tuple[NonNegative, NonNegative | None] | None, ...] | None = None
    """Range of each dimension: ``[first, after_last]``, ``[first, null]`` up to the end, ``null`` for all of it."""
    pad: tuple[tuple[NonNegative, NonNegative], ...] | None = None
    """Zeros before and after each dimension: ``[before, after]``."""
    scale: float | None = None
    """Factor of the values."""
    cast: Dtype | None = None
    """New dtype: ``float32``."""

    @model_validator(mode="after")
    def _one(self) -> Transform:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            allowed = ", ".join(type(self).__pydantic_fields__)
            raise ValueError(f"a transform is one of {allowed}; got {', '.join(given) or 'none'}")
        return self

    def __str__(self) -> str:
        """Return the transform as ``transpose [1, 0]``."""
        return next(f"{name} {_plain(value)}" for name, value in self if value is not None)


class RenameRule(Section):
    """A rule that maps names in a checkpoint to variables; exactly one of ``name``, ``prefix`` and ``pattern``."""

    name: str | None = None
    """Name in the checkpoint."""
    prefix: str | None = None
    """Prefix of names in the checkpoint; ``to`` replaces it."""
    pattern: str | None = None
    r"""Regular expression over full names in the checkpoint; ``to`` may use its groups, as ``\1``."""
    to: str | None = None
    """Name of the variable; the name in the checkpoint if omitted."""
    concat: tuple[str, ...] = ()
    r"""Further names in the checkpoint to concatenate to the first; with a pattern they may use its groups."""
    axis: NonNegative = 0
    """Dimension along which ``concat`` concatenates."""
    transform: tuple[Transform, ...] = ()
    """Transforms of the value, in order."""
    optional: bool = False
    """Allow the rule to match nothing."""
    on_shape_mismatch: Literal["error", "skip", "slice_or_pad"] = "error"
    """Action where shapes differ: ``skip`` keeps the initial value, ``slice_or_pad`` cuts dimensions that are too long
    and pads those that are too short with zeros."""

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
                    raise ValueError(
                        f"'{self.pattern}' -> '{target}' is not a regular expression rule: {error}"
                    ) from None
        return self

    @property
    def selector(self) -> str:
        """Name, prefix or pattern of the rule."""
        return next(text for text in (self.name, self.prefix, self.pattern) if text is not None)


class SourceConfig(Section):
    """A checkpoint to restore from, and the rules for its names."""

    from_: str | None = Field(default=None, alias="from")
    """Checkpoint, checkpoint folder, run folder, or ``runs:/ID`` of MLflow."""
    weights: Weights = "raw"
    """``ema`` restores variables from their EMA; ``ema_if_present`` does so where the checkpoint has one."""
    include: tuple[str, ...] = ()
    """Regular expressions over full names in the checkpoint; only matching names are restored. Empty: all names."""
    exclude: tuple[str, ...] = ()
    """Regular expressions over full names in the checkpoint that are not restored."""
    rename: tuple[RenameRule, ...] = ()
    """Rules, in order, for names that differ; of two rules for one name and one variable the first applies."""
    layout: WeightLayout = "tensorflow"
    """``pytorch``: kernels of dense layers and convolutions have the order of dimensions that PyTorch has; they are
    transposed after the transforms of their rule. LSTM and GRU are read from ``LAYER/weight_ih``, ``LAYER/weight_hh``,
    ``LAYER/bias_ih`` and ``LAYER/bias_hh``, to which rules lead PyTorch's names."""

    @model_validator(mode="after")
    def _patterns(self) -> SourceConfig:
        _check_patterns(include=self.include, exclude=self.exclude)
        return self


class RestoreConfig(SourceConfig):
    """Values to restore before training if the run has no checkpoint of its own; ``from`` is ``null`` for none."""

    optimizer: Literal["reset", "restore"] = "reset"
    """``restore`` continues a training: slots, other optimizer variables and ``global_step`` are restored too, and the
    state that layers carry where batches have the same size; ``reset`` starts one at step 0 with a fresh optimizer."""
    keep_initial: tuple[str, ...] = ()
    """Regular expressions over full names of variables that keep their initial values."""
    sources: dict[str, SourceConfig] = {}
    """Further checkpoints, by any name, each with its own rules."""

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
                raise ValueError(f"{name}: '{pattern}' is not a regular expression: {error}") from None


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

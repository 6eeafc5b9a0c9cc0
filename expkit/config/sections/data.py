"""The section ``data``: a source, its split, its preparation."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

import expkit.kinds.sources  # noqa: F401  # registers the kinds of sources
from expkit.kinds.sources.base import Source
from expkit.registry import KindsOf, Positive, Section

__all__ = ["DataConfig", "PairsConfig", "SplitConfig"]


class SplitConfig(Section):
    """Which examples train, choose and score: each a fraction of all (shuffled) or a range of indices (as they are)."""

    train: float | tuple[int, int] = 0.7
    """Fraction, or ``[first, after_last]``."""
    valid: float | tuple[int, int] | None = None
    """Fraction, or ``[first, after_last]``; ``null`` for no validation."""
    test: float | tuple[int, int] = 0.2
    """Fraction, or ``[first, after_last]``."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the shuffle before fractions are cut."""

    @model_validator(mode="after")
    def _fits(self) -> SplitConfig:
        parts = [part for part in (self.train, self.valid, self.test) if part is not None]
        fractions = [part for part in parts if isinstance(part, float | int)]
        ranges = sorted(part for part in parts if isinstance(part, tuple))
        if fractions and ranges:
            raise ValueError("fractions and index ranges cannot be mixed; give all parts the same way")
        if any(not 0 < part <= 1 for part in fractions) or sum(fractions) > 1 + 1e-9:
            raise ValueError(f"fractions must lie in (0, 1] with a sum of at most 1, got {fractions}")
        if any(not 0 <= first < after for first, after in ranges):
            raise ValueError(f"an index range is [first, after_last] with 0 <= first < after_last, got {ranges}")
        for (_, after), (first, _) in pairwise(ranges):
            if first < after:
                raise ValueError(f"index ranges overlap, so training would see scored examples: {ranges}")
        return self


class PairsConfig(Section):
    """Pairs of examples of each part of the split: fields ``left``, ``right`` and ``label`` (1: the same label)."""

    field: str = "image"
    """Field whose values are paired."""
    label: str = "label"
    """Field that tells whether a pair is the same."""
    per_example: Positive = 4
    """Pairs per example, half of them the same (as near as it goes)."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the pairing."""


class DataConfig(Section):
    """The data: a source, its split, its preparation."""

    source: Annotated[Source, KindsOf("source")]
    """Where examples come from."""
    split: SplitConfig
    """Which examples train, choose and score."""
    standardize: tuple[str, ...] = ()
    """Fields shifted and scaled to mean 0 and spread 1 per value, fitted on the training examples only."""
    pairs: PairsConfig | None = None
    """Whether to pair examples, after the split."""
    placement: Literal["auto", "resident", "streamed"] = "auto"
    """Whether the session holds the training examples (``resident``) or a thread prepares batches (``streamed``).

    ``auto`` streams what is on disk (kinds ``arrays`` and ``tfrecord``) or takes more than a quarter of the machine's
    memory; no number depends on it.
    """

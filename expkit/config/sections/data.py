"""The section ``data``."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

import expkit.kinds.augment
import expkit.kinds.preprocess
import expkit.kinds.sources  # noqa: F401  # registers the kinds
from expkit.kinds.augment.base import AnyAugment
from expkit.kinds.preprocess.base import AnyPreprocess
from expkit.kinds.sources.base import Source
from expkit.registry import KindsOf, Positive, Section

__all__ = ["DataConfig", "PairsConfig", "SplitConfig", "WindowsConfig"]


class SplitConfig(Section):
    """Training, validation and test examples: each a fraction (shuffled), a range of indices or a ready-made part.

    Ready-made parts are named as the data names them, by the folders ``train``, ``valid`` and ``test`` of
    ``image_folder`` and ``text``, or by a column of a table: ``{train: train, valid: valid, test: test}``. Beside
    names, fractions are of the examples whose part is not named: ``{train: 0.9, valid: 0.1, test: test}``.

    With ``data.order: stream`` and with ``data.windows`` fractions are taken in order: first training, then validation,
    then test.

    ``stratify``, ``group``, both of them, or ``by`` arrange the fractions by the values of a field.
    """

    train: float | str | tuple[int, int] = 0.7
    """Fraction, ``[first, after_last]`` or name of a part."""
    valid: float | str | tuple[int, int] | None = None
    """Fraction, ``[first, after_last]`` or name of a part; ``null`` for no validation."""
    test: float | str | tuple[int, int] = 0.2
    """Fraction, ``[first, after_last]`` or name of a part."""
    field: str = "part"
    """Field of text, or of whole numbers, that names the part of every example, where parts are ready-made."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the shuffle before fractions are taken; 0 where they are taken in order."""
    stratify: str | None = None
    """Field of classes (text or whole numbers): every part has its fraction of the examples of each class."""
    group: str | None = None
    """Field of groups, such as patients: no group is in two parts, whose sizes are near to the fractions; with
    ``stratify`` so are those of each class."""
    by: str | None = None
    """Field of times (numbers, or dates of ISO 8601): training has the earliest, then validation, then test."""

    @model_validator(mode="after")
    def _arranges(self) -> SplitConfig:
        given = [key for key in ("stratify", "group", "by") if getattr(self, key) is not None]
        if len(given) > 1 and "by" in given:
            why = "the examples of a group or class lie at different times"
            raise ValueError(f"{' and '.join(given)} cannot be combined, because {why}; give by alone, or leave it out")
        if given and not any(isinstance(size, float | int) for size in (self.train, self.valid, self.test)):
            raise ValueError(
                f"{given[0]} arranges fractions, but every part is an index range or has a name; leave it out"
            )
        if self.by is not None and self.seed != 0:
            raise ValueError("by orders the examples, so that nothing is drawn; set seed: 0")
        return self

    @model_validator(mode="after")
    def _fits(self) -> SplitConfig:
        splits = [split for split in (self.train, self.valid, self.test) if split is not None]
        fractions = [split for split in splits if isinstance(split, float | int)]
        ranges = sorted(split for split in splits if isinstance(split, tuple))
        parts = [split for split in splits if isinstance(split, str)]
        if ranges and (fractions or parts):
            others = "fractions" if fractions else "names of parts"
            raise ValueError(f"{others} and index ranges cannot be mixed; use one of them for all splits")
        if any(not 0 < fraction <= 1 for fraction in fractions) or sum(fractions) > 1 + 1e-9:
            raise ValueError(f"fractions must lie in (0, 1] with a sum of at most 1, got {fractions}")
        if any(not 0 <= first < after for first, after in ranges):
            raise ValueError(f"an index range is [first, after_last] with 0 <= first < after_last, got {ranges}")
        for (_, after), (first, _) in pairwise(ranges):
            if first < after:
                raise ValueError(f"index ranges overlap, so training would see scored examples: {ranges}")
        if len(set(parts)) < len(parts):
            raise ValueError(f"a part can be one split only, or training would see scored examples: {parts}")
        return self


class PairsConfig(Section):
    """Pairs of examples within each split: fields ``left``, ``right`` and ``label`` (1: the same label)."""

    field: str = "image"
    """Field with the values to pair."""
    label: str = "label"
    """Field that two examples must share for the label 1."""
    per_example: Positive = 4
    """Pairs per example, as near as possible half of them with the same label."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the pairing."""


class WindowsConfig(Section):
    """Windows of one long sequence, within each split: ``length`` consecutive steps are an example.

    Every field of the source, [steps, ...], becomes [windows, length, ...]; steps after the last whole window are left
    out.
    """

    length: Positive
    """Steps of a window."""
    field: str | None = None
    """Field to predict one step ahead, as the tokens of a text; ``null`` adds no field."""
    label: str = "label"
    """Name of the added field: the values of ``field`` one step later."""


class DataConfig(Section):
    """The data: a source, its split, its preprocessing."""

    source: Annotated[Source, KindsOf("source")]
    """Source of the examples."""
    split: SplitConfig
    """Training, validation and test examples."""
    pairs: PairsConfig | None = None
    """Pairing of examples, after the split; ``null`` for none."""
    windows: WindowsConfig | None = None
    """Windows of one long sequence, cut after the split, which is then in order; ``null`` for none."""
    order: Literal["shuffled", "stream"] = "shuffled"
    """``shuffled``: every epoch is another permutation of the training examples; ``stream``: examples stay in order.

    With ``stream`` the examples are cut into as many lanes of consecutive ones as a step has examples: example i of a
    step continues example i of the step before. An epoch ends with the lanes; examples that would make them unequal are
    left out.
    """
    classes: dict[str, tuple[str, ...]] = {}
    """Names of classes by field of text labels, in the order of their numbers; by default those found, sorted."""
    preprocess: dict[str, tuple[AnyPreprocess, ...]] = {}
    """Steps of preprocessing by field, in order: fitted on the training examples only, and part of the frozen graph."""
    augment: dict[str, tuple[AnyAugment, ...]] = {}
    """Random changes of the training examples by field, in order, after all preprocessing; in training only.

    What an example becomes depends on ``run.seed``, the epoch and the example alone.
    """
    duplicates: Literal["warn", "error", "ignore"] = "warn"
    """Reaction to examples with the same inputs in two parts, which make scores too good."""
    placement: Literal["auto", "resident", "streamed"] = "auto"
    """``resident``: the session holds the training examples; ``streamed``: a thread prepares batches.

    ``auto`` streams data on disk, such as that of kinds ``arrays`` and ``tfrecord``, and data larger than a quarter of
    the machine's memory; results do not depend on it. With ``augment`` a thread prepares batches in any case:
    ``resident`` then reads the examples into memory first.
    """

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for field, names in classes.items():
            if not names:
                raise ValueError(f"'{field}' has no classes; list their names, or leave the field out")
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                raise ValueError(f"'{field}' has the class '{twice[0]}' twice; every class has one number")
        return classes

    @model_validator(mode="after")
    def _split_agrees(self) -> DataConfig:
        given = [key for key in ("stratify", "group") if getattr(self.split, key) is not None]
        if self.in_order and given:
            why = "order is stream" if self.order == "stream" else "windows are of consecutive steps"
            raise ValueError(f"{why}, so that the split is in order; leave split.{given[0]} out")
        return self

    @model_validator(mode="after")
    def _yields(self) -> DataConfig:
        taken: dict[str, str] = {}
        for field, steps in self.preprocess.items():
            for number, step in enumerate(steps[:-1]):
                if step.yields:
                    raise ValueError(
                        f"preprocess.{field}.{number}: {step.kind} yields several fields, so it must be the last step"
                    )
            for name in steps[-1].yields if steps else ():
                if name in taken or (name in self.preprocess and name != field):
                    other = taken.get(name, name)
                    where = f"both '{other}' and '{field}'" if other != field else f"'{field}' twice"
                    raise ValueError(
                        f"preprocess: {where} yield a field '{name}'; give others in {steps[-1].kind}.fields"
                    )
                taken[name] = field
        return self

    @property
    def yielded(self) -> dict[str, str]:
        """Fields of the data by the fields that their preprocessing yields in their place."""
        return {name: field for field, steps in self.preprocess.items() if steps for name in steps[-1].yields}

    @property
    def in_order(self) -> bool:
        """True if examples are split in the order of the source: fractions are not shuffled."""
        return self.order == "stream" or self.windows is not None

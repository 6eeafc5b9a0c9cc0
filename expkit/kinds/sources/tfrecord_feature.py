"""A feature of a TFRecord file as the configuration describes it."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from expkit.registry import Positive, Section

__all__ = ["Feature"]


class Feature(Section):
    """A feature of a ``tf.train.Example`` or ``SequenceExample`` as a field of the source ``tfrecord``."""

    shape: tuple[Positive, ...] = ()
    """Sizes of an example's dimensions; empty for a single value."""
    dtype: Literal["uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "string"] = "float32"
    """Dtype of the values; the bytes of a ``bytes_list`` are read as this dtype, or as they are: ``string``, which is
    for text and encoded images."""
    length: Positive | None = None
    """Maximum number of items, each of ``shape``, of a feature whose number of items varies, such as a feature list of
    a ``SequenceExample``: the field has shape [length, *shape], and a field ``NAME_length`` the numbers of items. A
    record without the feature has none. ``null`` where all records have the same number."""
    padding: int | float = 0
    """Value behind the last item up to the length; of strings always the empty one."""
    on_longer: Literal["stop", "cut"] = "stop"
    """Reaction to more items than the length: an error, or the rest is dropped."""

    @model_validator(mode="after")
    def _padding_fits(self) -> Feature:
        if self.dtype != "string" and "float" not in self.dtype:
            import numpy as np

            bounds = np.iinfo(self.dtype)
            if self.padding != int(self.padding) or not bounds.min <= self.padding <= bounds.max:
                raise ValueError(f"padding {self.padding} is no {self.dtype}")
        return self

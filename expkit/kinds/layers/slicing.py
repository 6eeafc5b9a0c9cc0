"""Layers that select values of a tensor along a dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs, Layer
from expkit.kinds.layers.checks import inner_axis
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.kinds.layers.windows import Pads, with_window_check
from expkit.registry import Positive, register
from expkit.tensor_spec import Shape, ShapeError, TensorSpec

__all__ = ["Crop", "Gather", "Slice", "Split"]


def _with_size(spec: TensorSpec, axis: int, sizes: Shape) -> TensorSpec:
    """Return a spec in which other sizes replace that of one axis, the batch counted as 0."""
    return TensorSpec((*spec.shape[: axis - 1], *sizes, *spec.shape[axis:]), spec.dtype)


MAX_PARTS = 10_000
"""Maximum number of outputs of a layer."""


@register
class Slice(Layer):
    """A range along one dimension, as in Python: negative numbers count from the end."""

    kind: Literal["slice"] = "slice"
    axis: int = 1
    """Dimension, the batch counted as 0."""
    start: int = 0
    """First index."""
    stop: int | None = None
    """Index after the last; by default the end."""
    step: Positive = 1
    """Step from one index to the next."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the size of the range along the axis."""
        axis = inner_axis(self.axis, len(inputs[0].shape) + 1, self.kind)
        size = inputs[0].shape[axis - 1]
        if size is None:
            return _with_size(inputs[0], axis, (None,))
        count = len(range(size)[self.start : self.stop : self.step])
        if not count:
            raise ShapeError(f"slice from {self.start} to {self.stop} is empty along axis {axis} of {inputs[0]}")
        return _with_size(inputs[0], axis, (count,))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Slice."""
        axis = inner_axis(self.axis, inputs[0].shape.rank, self.kind)
        return inputs[0][(slice(None),) * axis + (slice(self.start, self.stop, self.step),)]


@register
class Crop(Layer):
    """Values removed at both ends of dimensions."""

    kind: Literal["crop"] = "crop"
    cropping: tuple[Pads, ...] = Field(min_length=1)
    """``[before, after]`` for the first dimensions after the batch: ``[[top, bottom], [left, right]]``."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the remaining sizes."""
        spec = inputs[0]
        if len(self.cropping) > len(spec.shape):
            raise ShapeError(f"crop of {len(self.cropping)} dimensions, but the input {spec} has {len(spec.shape)}")
        left = []
        for size, (before, after) in zip(spec.shape, self.cropping, strict=False):
            if size is not None and before + after >= size:
                raise ShapeError(f"crop by [{before}, {after}] leaves nothing of size {size} in {spec}")
            left.append(None if size is None else size - before - after)
        return TensorSpec((*left, *spec.shape[len(left) :]), spec.dtype)

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Crop."""
        x = with_window_check(inputs[0], [before + after + 1 for before, after in self.cropping], self.kind)
        return x[(slice(None), *(slice(before, -after if after else None) for before, after in self.cropping))]


@register
class Split(Layer):
    """Parts along one dimension, each an output: ``NAME/0``, ``NAME/1``, ..."""

    kind: Literal["split"] = "split"
    parts: Positive | tuple[Positive, ...]
    """Number of equal parts, or the size of each."""
    axis: int = -1
    """Dimension that is split, the batch counted as 0."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return the parts by their numbers."""
        spec, parts = inputs[0], self.parts
        axis = inner_axis(self.axis, len(spec.shape) + 1, self.kind)
        size = spec.shape[axis - 1]
        if isinstance(parts, int):
            if size is None or size % parts:
                raise ShapeError(f"split into {parts} equal parts needs a size that is a multiple of it, got {spec}")
            if parts > MAX_PARTS:
                raise ShapeError(f"split into {parts:,} parts: allowed are at most {MAX_PARTS:,}")
            parts = (size // parts,) * parts
        elif size is not None and sum(parts) != size:
            raise ShapeError(f"split into parts of {list(parts)}, which add up to {sum(parts)}, not {size}, in {spec}")
        return {str(number): _with_size(spec, axis, (part,)) for number, part in enumerate(parts)}

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Mapping[str, Any]:
        """Split."""
        parts = self.parts if isinstance(self.parts, int) else list(self.parts)
        return {str(number): part for number, part in enumerate(tf.split(inputs[0], parts, axis=self.axis))}


@register
class Gather(Layer):
    """Values at indices along one dimension: ``indices``, or a second input that holds them for each example."""

    kind: Literal["gather"] = "gather"
    arity: ClassVar[tuple[int, int | None]] = (1, 2)
    indices: int | tuple[int, ...] | None = None
    """Indices, negative ones from the end; a single number removes the dimension."""
    axis: int = 1
    """Dimension, the batch counted as 0."""

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape with the indices' shape in place of the dimension."""
        spec = inputs[0]
        axis = inner_axis(self.axis, len(spec.shape) + 1, self.kind)
        if (self.indices is None) == (len(inputs) == 1):
            given = "neither" if self.indices is None else "both"
            raise ShapeError(f"gather needs either indices or a second input that holds them, got {given}")
        if self.indices is None:
            if inputs[1].dtype not in ("int32", "int64"):
                raise ShapeError(f"gather needs int32 or int64 indices, got {inputs[1]}")
            return _with_size(spec, axis, inputs[1].shape)
        size = spec.shape[axis - 1]
        indices = (self.indices,) if isinstance(self.indices, int) else self.indices
        if size is not None and any(not -size <= index < size for index in indices):
            raise ShapeError(
                f"gather needs indices from {-size} to {size - 1} along axis {axis} of {spec}, got {list(indices)}"
            )
        return _with_size(spec, axis, () if isinstance(self.indices, int) else (len(indices),))

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Gather."""
        axis = inner_axis(self.axis, inputs[0].shape.rank, self.kind)
        if self.indices is None:
            return tf.gather(inputs[0], inputs[1], axis=axis, batch_dims=1)
        size = sizes_of(inputs[0])[axis]
        given = (self.indices,) if isinstance(self.indices, int) else self.indices
        indices = [index + size if index < 0 else index for index in given]
        return tf.gather(inputs[0], indices[0] if isinstance(self.indices, int) else tf.stack(indices), axis=axis)

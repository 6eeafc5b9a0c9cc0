"""Checks of the shapes and dtypes of layers' inputs."""

from __future__ import annotations

from collections.abc import Sequence

from expkit.tensor_spec import Shape, ShapeError, TensorSpec

__all__ = [
    "common_shape",
    "inner_axis",
    "is_narrow_float",
    "last_size",
    "listed_specs",
    "need_floats",
    "same_dtype",
]

_NARROW_FLOATS = ("float16", "bfloat16", "float32")


def is_narrow_float(spec: TensorSpec) -> bool:
    """Return whether a tensor holds floats of at most 32 bits."""
    return spec.dtype in _NARROW_FLOATS


def need_floats(spec: TensorSpec, kind: str) -> TensorSpec:
    """Return the spec of an input that holds floats.

    Raises:
        ShapeError: it does not.
    """
    if not (is_narrow_float(spec) or spec.dtype == "float64"):
        raise ShapeError(f"{kind} needs an input of floats, got {spec}; convert it with kind 'cast'")
    return spec


def last_size(spec: TensorSpec, kind: str) -> int:
    """Return the last dimension's size of an input of floats.

    Raises:
        ShapeError: it does not hold floats, has only the batch dimension, or its last size is unknown.
    """
    need_floats(spec, kind)
    if not spec.shape or spec.shape[-1] is None:
        raise ShapeError(f"{kind} needs an input whose last dimension is known, got {spec}")
    return spec.shape[-1]


def same_dtype(inputs: Sequence[TensorSpec], kind: str) -> str:
    """Return the inputs' common dtype.

    Raises:
        ShapeError: they have several.
    """
    if len({spec.dtype for spec in inputs}) > 1:
        raise ShapeError(f"{kind} needs inputs of one dtype, got {listed_specs(inputs)}")
    return inputs[0].dtype


def listed_specs(inputs: Sequence[TensorSpec]) -> str:
    """Return the inputs' shapes in words."""
    return " and ".join(str(spec) for spec in inputs)


def common_shape(inputs: Sequence[TensorSpec], kind: str) -> Shape:
    """Return the shape of an elementwise operation of the inputs, in which a dimension of size 1 broadcasts.

    Raises:
        ShapeError: the inputs do not fit.
    """
    sizes = [set(along) - {1} for along in zip(*(spec.shape for spec in inputs), strict=False)]
    if len({len(spec.shape) for spec in inputs}) > 1 or any(len(different) > 1 for different in sizes):
        raise ShapeError(
            f"{kind} needs inputs of one shape, or of size 1 where they differ, got {listed_specs(inputs)}"
        )
    return tuple(next(iter(different), 1) for different in sizes)


def inner_axis(axis: int, rank: int, kind: str) -> int:
    """Return an axis counted from the front, given one that may be negative, counted from the end.

    Raises:
        ShapeError: it is the batch, or a tensor of this rank has no such axis.
    """
    from_front = axis + rank if axis < 0 else axis
    if not 1 <= from_front < rank:
        axes = f"axes 1 to {rank - 1}" if rank > 1 else "no axis"
        raise ShapeError(f"{kind} along axis {axis}: a tensor of rank {rank} has {axes} besides 0, the batch")
    return from_front

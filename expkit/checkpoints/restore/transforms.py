"""Transforms of values on their way into variables: what they make of a shape, and of an array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.config.sections.restore import Transform

__all__ = ["applied", "dtype_after", "fitting", "joined_shape", "shape_after"]

Shape = tuple[int, ...]


def shape_after(step: Transform, shape: Shape) -> Shape:
    """Return the shape that a transform makes of one.

    Raises:
        ValueError: the transform is not for such a shape.
    """
    if step.transpose is not None:
        if sorted(step.transpose) != list(range(len(shape))):
            raise ValueError(f"{step} is no order of the {len(shape)} dimensions of {list(shape)}")
        return tuple(shape[axis] for axis in step.transpose)
    if step.reshape is not None:
        return _reshaped(step, shape)
    if step.slice is not None:
        _check_rank(step, len(step.slice), shape)
        parts = [part or (0, None) for part in step.slice]
        after = [(first, size if last is None else last) for (first, last), size in zip(parts, shape, strict=True)]
        if any(not first < last <= size for (first, last), size in zip(after, shape, strict=True)):
            raise ValueError(f"{step} reaches outside {list(shape)}")
        return tuple(last - first for first, last in after)
    if step.pad is not None:
        _check_rank(step, len(step.pad), shape)
        return tuple(before + size + behind for (before, behind), size in zip(step.pad, shape, strict=True))
    return shape


def dtype_after(step: Transform, dtype: str) -> str:
    """Return the type that a transform makes of one.

    Raises:
        ValueError: the transform is not for such a type.
    """
    if step.scale is not None and not dtype.startswith(("float", "bfloat")):
        raise ValueError(f"{step} is for floating-point values, not {dtype}")
    if step.cast is not None and dtype == "string":
        raise ValueError(f"{step} cannot be made of text")
    if step.cast is not None and dtype.startswith("complex"):
        raise ValueError(f"{step} would drop the imaginary part of {dtype}")
    return step.cast or dtype


def joined_shape(shapes: Sequence[Shape], axis: int) -> Shape:
    """Return the shape of arrays joined along a dimension.

    Raises:
        ValueError: they do not fit.
    """
    first = shapes[0]
    if axis >= len(first):
        raise ValueError(f"shapes {_listed(shapes)} have no dimension {axis} to join along")
    if len({(*shape[:axis], -1, *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError(f"shapes {_listed(shapes)} differ in more than dimension {axis}")
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def fitting(shape: Shape, wanted: Shape) -> tuple[Transform, ...]:
    """Return the transforms that cut off what is too long, then add zeros where it is too short.

    Raises:
        ValueError: the numbers of dimensions differ.
    """
    if len(shape) != len(wanted):
        raise ValueError(f"{list(shape)} and {list(wanted)} have different numbers of dimensions")
    both = list(zip(shape, wanted, strict=True))
    steps = []
    if any(have > want for have, want in both):
        steps.append(Transform(slice=tuple((0, want) if have > want else None for have, want in both)))
    if any(have < want for have, want in both):
        steps.append(Transform(pad=tuple((0, max(0, want - have)) for have, want in both)))
    return tuple(steps)


def applied(step: Transform, array: np.ndarray) -> np.ndarray:
    """Return what a transform makes of an array whose shape and type it is for."""
    if step.transpose is not None:
        return array.transpose(step.transpose)
    if step.reshape is not None:
        return array.reshape(step.reshape)
    if step.slice is not None:
        return array[tuple(slice(*(part or (None,))) for part in step.slice)]
    if step.pad is not None:
        return np.pad(array, step.pad)
    if step.scale is not None:
        return np.asarray(array * array.dtype.type(step.scale))
    return array.astype(_numpy_type(str(step.cast)))


def _numpy_type(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(name)


def _reshaped(step: Transform, shape: Shape) -> Shape:
    sizes, total = list(step.reshape or ()), math.prod(shape)
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = total // known if known > 0 else -1
    if any(size < 0 for size in sizes) or math.prod(sizes) != total:
        raise ValueError(f"{step} does not hold the {total} values of {list(shape)}")
    return tuple(sizes)


def _check_rank(step: Transform, rank: int, shape: Shape) -> None:
    if rank != len(shape):
        raise ValueError(f"{step} is for {rank} dimensions, the shape is {list(shape)}")


def _listed(shapes: Sequence[Shape]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)

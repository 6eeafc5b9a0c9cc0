"""Transforms of restored values, applied to shapes and dtypes in a plan and to arrays in a restore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from expkit.config.sections.restore import Transform
from expkit.errors import comma_list
from expkit.kinds.layers.pytorch import Layout
from expkit.tensor_spec import TensorSpec

__all__ = ["apply", "fitting", "from_pytorch", "inverse_transform", "joined", "to_pytorch", "transformed"]

Shape = tuple[int, ...]


def transformed(spec: TensorSpec, transform: Transform) -> TensorSpec:
    """Return shape and dtype after a transform.

    Raises:
        ValueError: the transform does not fit the shape or the dtype.
    """
    return TensorSpec.of_variable(_shape_after(transform, spec.sizes), _dtype_after(transform, spec.dtype))


def joined(specs: Sequence[TensorSpec], axis: int) -> TensorSpec:
    """Return the spec of arrays of one dtype, concatenated along a dimension.

    Raises:
        ValueError: their shapes do not fit.
    """
    shapes = [spec.sizes for spec in specs]
    first = shapes[0]
    if axis >= len(first):
        raise ValueError(f"shapes {_listed(shapes)} have no dimension {axis} to join along")
    if len({(*shape[:axis], -1, *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError(f"shapes {_listed(shapes)} differ in more than dimension {axis}")
    shape = (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])
    return TensorSpec.of_variable(shape, specs[0].dtype)


def fitting(shape: Shape, target: Shape) -> tuple[Transform, ...]:
    """Return the transforms that slice dimensions that are too long, then pad those that are too short with zeros.

    Raises:
        ValueError: the numbers of dimensions differ.
    """
    if len(shape) != len(target):
        raise ValueError(f"{list(shape)} and {list(target)} have different numbers of dimensions")
    both = list(zip(shape, target, strict=True))
    transforms = []
    if any(size > new for size, new in both):
        transforms.append(Transform(slice=tuple((0, new) if size > new else None for size, new in both)))
    if any(size < new for size, new in both):
        transforms.append(Transform(pad=tuple((0, max(0, new - size)) for size, new in both)))
    return tuple(transforms)


def to_pytorch(layout: Layout) -> tuple[Transform, ...]:
    """Return the transforms from a variable to its layout in PyTorch.

    Raises:
        ValueError: PyTorch has no tensor of the same values.
    """
    if layout.lacks:
        raise ValueError(f"PyTorch has no tensor of the same values: {layout.lacks}")
    if layout.blocks:
        tensors = comma_list(dict.fromkeys(block.tensor for block in layout.blocks))
        raise ValueError(f"PyTorch has no tensor of the same values: it is parts of {tensors}, each of which is needed")
    turned = Transform(transpose=layout.axes)
    return (turned,) if layout.shape is None else (turned, Transform(reshape=layout.shape))


def from_pytorch(layout: Layout, shape: Shape) -> tuple[Transform, ...]:
    """Return the transforms to a variable of a shape from its layout in PyTorch.

    Raises:
        ValueError: PyTorch has no tensor of the same values.
    """
    turned = to_pytorch(layout)[0]
    reshaped = () if layout.shape is None else (Transform(reshape=_shape_after(turned, shape)),)
    return (*reshaped, inverse_transform(turned, layout.shape or shape))


def inverse_transform(transform: Transform, shape: Shape) -> Transform:
    """Return the transform that undoes another one, of whose result the shape is given.

    Raises:
        ValueError: values cannot be had back: they were cut off, rounded or converted, or had an unknown shape.
    """
    if transform.transpose is not None:
        return Transform(transpose=tuple(int(axis) for axis in np.argsort(transform.transpose)))
    if transform.pad is not None:
        _check_rank(transform, len(transform.pad), shape)
        ends = zip(transform.pad, shape, strict=True)
        return Transform(slice=tuple((before, size - behind) for (before, behind), size in ends))
    if transform.scale is not None and abs(math.frexp(transform.scale)[0]) == 0.5:  # Other factors round.
        return Transform(scale=1 / transform.scale)
    raise ValueError(f"{transform} has no inverse")


def apply(transform: Transform, array: np.ndarray) -> np.ndarray:
    """Return an array after a transform that fits its shape and dtype."""
    if transform.transpose is not None:
        return array.transpose(transform.transpose)
    if transform.reshape is not None:
        return array.reshape(transform.reshape)
    if transform.slice is not None:
        return array[tuple(slice(*(bounds or (None,))) for bounds in transform.slice)]
    if transform.pad is not None:
        return np.pad(array, transform.pad)
    if transform.scale is not None:
        return np.asarray(array * array.dtype.type(transform.scale))
    return array.astype(_numpy_type(str(transform.cast)))


def _shape_after(transform: Transform, shape: Shape) -> Shape:
    if transform.transpose is not None:
        if sorted(transform.transpose) != list(range(len(shape))):
            raise ValueError(f"{transform} is not an order of the {len(shape)} dimensions of {list(shape)}")
        return tuple(shape[axis] for axis in transform.transpose)
    if transform.reshape is not None:
        return _reshaped(transform, shape)
    if transform.slice is not None:
        _check_rank(transform, len(transform.slice), shape)
        bounds = [dimension or (0, None) for dimension in transform.slice]
        ends = [(first, size if last is None else last) for (first, last), size in zip(bounds, shape, strict=True)]
        if any(not first < last <= size for (first, last), size in zip(ends, shape, strict=True)):
            raise ValueError(f"{transform} reaches outside {list(shape)}")
        return tuple(last - first for first, last in ends)
    if transform.pad is not None:
        _check_rank(transform, len(transform.pad), shape)
        return tuple(before + size + behind for (before, behind), size in zip(transform.pad, shape, strict=True))
    return shape


def _dtype_after(transform: Transform, dtype: str) -> str:
    if transform.scale is not None and not dtype.startswith(("float", "bfloat")):
        raise ValueError(f"{transform} requires floating-point values, not {dtype}")
    if transform.cast is not None and dtype == "string":
        raise ValueError(f"{transform} cannot convert text")
    if transform.cast is not None and dtype.startswith("complex"):
        raise ValueError(f"{transform} would drop the imaginary part of {dtype}")
    return transform.cast or dtype


def _numpy_type(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(name)


def _reshaped(transform: Transform, shape: Shape) -> Shape:
    sizes, total = list(transform.reshape or ()), math.prod(shape)
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = total // known if known > 0 else -1
    if any(size < 0 for size in sizes) or math.prod(sizes) != total:
        raise ValueError(f"{transform} does not hold the {total} values of {list(shape)}")
    return tuple(sizes)


def _check_rank(transform: Transform, rank: int, shape: Shape) -> None:
    if rank != len(shape):
        raise ValueError(f"{transform} is for {rank} dimensions, the shape is {list(shape)}")


def _listed(shapes: Sequence[Shape]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)

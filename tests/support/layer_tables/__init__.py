"""Tables over the kinds of layers, a file per family.

``CASES``: kind, fields, inputs, variables, and what NumPy computes of them (of several outputs each by name).
``SPECS``: kind, fields, shapes that go in, the variables' shapes, the shape that comes out.
``REFUSED``: kind, fields, shapes that do not fit, and the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expkit.kinds.layers.base import Inputs
from expkit.tensor_spec import TensorSpec

Array = np.ndarray
Case = tuple[str, dict[str, Any], Sequence[Array], dict[str, Array], Array | Mapping[str, Array]]
Spec = tuple[str, dict[str, Any], Inputs[TensorSpec], dict[str, tuple[int, ...]], TensorSpec | dict[str, TensorSpec]]
Refused = tuple[str, dict[str, Any], Inputs[TensorSpec], str]

DRAW = np.random.default_rng(0)


def some(*shape: int) -> Array:
    return DRAW.normal(size=shape).astype(np.float32)


def specs(*shapes: tuple[int | None, ...] | TensorSpec, **named: TensorSpec) -> Inputs[TensorSpec]:
    """Return inputs of these shapes (float32 where nothing else is said), and what is read by name."""
    return Inputs((shape if isinstance(shape, TensorSpec) else TensorSpec(shape) for shape in shapes), named)


def integers(*shape: int | None) -> TensorSpec:
    return TensorSpec(shape, "int32")


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Array) -> Array:
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))

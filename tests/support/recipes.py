"""How to make a valid layer of every kind for a tensor that is there: one line a kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from expkit.tensor_spec import TensorSpec

Fits = Callable[[TensorSpec], bool]


@dataclass(frozen=True)
class Recipe:
    """What a kind takes, and what fields it may have then."""

    fits: Fits
    """Whether the kind takes a tensor as its first input."""
    fields: Callable[[Random, TensorSpec], dict[str, Any]] = lambda rng, spec: {}
    """Fields of the kind itself."""
    beside: Callable[[TensorSpec, TensorSpec], bool] | None = None
    """Whether another tensor may stand beside the first; ``None`` for kinds of one input."""
    reads: dict[str, Callable[[TensorSpec, TensorSpec], bool]] | None = None
    """By field that names a further tensor: whether one goes with the first input."""


def anything(spec: TensorSpec) -> bool:
    return True


def nothing(spec: TensorSpec) -> bool:
    """Kinds without an input."""
    return False


def floats(*ranks: int) -> Fits:
    """Take float32 tensors with a known last dimension, of given ranks (without the batch) if any are given."""
    return lambda spec: (
        spec.dtype == "float32" and (not ranks or (len(spec.shape) in ranks and spec.shape[-1] is not None))
    )


def numbers(spec: TensorSpec) -> bool:
    return spec.dtype != "bool"


def integers(spec: TensorSpec) -> bool:
    return spec.dtype in ("int32", "int64")


def known(spec: TensorSpec) -> bool:
    """Take tensors whose sizes are all known."""
    return None not in spec.shape


def long(spec: TensorSpec) -> bool:
    """Take tensors whose first dimension after the batch is larger than 1."""
    return bool(spec.shape) and (spec.shape[0] or 0) > 1


def ends(spec: TensorSpec) -> bool:
    """Take tensors with a known last dimension."""
    return bool(spec.shape) and spec.shape[-1] is not None


def even(spec: TensorSpec) -> bool:
    return floats(2)(spec) and last(spec) % 2 == 0 and last(spec) > 2


def equal(first: TensorSpec, other: TensorSpec) -> bool:
    return first == other


def alike(first: TensorSpec, other: TensorSpec) -> bool:
    """Go with tensors of the same shape, also with those that depend on no example."""
    return (first.shape, first.dtype) == (other.shape, other.dtype)


def but_last(first: TensorSpec, other: TensorSpec) -> bool:
    """Go with tensors whose last dimension alone may differ."""
    return replace(first, shape=first.shape[:-1]) == replace(other, shape=other.shape[:-1]) and ends(other)


def lengths(first: TensorSpec, other: TensorSpec) -> bool:
    return integers(other) and other.shape == () and other.batched == first.batched


def masks(first: TensorSpec, other: TensorSpec) -> bool:
    return other.shape == first.shape[:1] and other.batched == first.batched


def conditions(first: TensorSpec, other: TensorSpec) -> bool:
    return other.dtype == "bool" and other.shape == first.shape


def batched(first: TensorSpec, other: TensorSpec) -> bool:
    return other.batched


def last(spec: TensorSpec) -> int:
    assert spec.shape[-1] is not None
    return spec.shape[-1]


def size(spec: TensorSpec) -> int:
    return math.prod(part for part in spec.shape if part is not None)


def few(rng: Random) -> int:
    return rng.randint(1, 4)


def pair(rng: Random) -> list[int]:
    return [few(rng), few(rng)]


def either(rng: Random, *choices: Any) -> Any:
    return rng.choice(choices)


def yes(rng: Random) -> bool:
    return rng.random() < 0.5


def shuffled(rng: Random, spec: TensorSpec) -> list[int]:
    return rng.sample(range(1, len(spec.shape) + 1), len(spec.shape))


def cell(rng: Random) -> dict[str, Any]:
    direction = either(rng, "forward", "backward", "both")
    return {"units": few(rng), "direction": direction, "return_sequences": yes(rng)}


SEQUENCE, IMAGE, VOLUME, LAST = floats(2), floats(3), floats(4), floats(1, 2, 3, 4)

RECIPES: dict[str, Recipe] = {
    "activation": Recipe(LAST, lambda r, s: {"function": either(r, "relu", "tanh", "gelu", "crelu")}),
    "add": Recipe(numbers, beside=alike),
    "argmax": Recipe(LAST, lambda r, s: {"axis": either(r, 1, -1)}),
    "attention": Recipe(
        SEQUENCE,
        lambda r, s: {"num_heads": few(r), "key_dim": few(r), "output_dim": either(r, None, 3), "causal": yes(r)},
        equal,
        {"mask": masks},
    ),
    "average": Recipe(floats(), beside=alike),
    "average_pool": Recipe(IMAGE, lambda r, s: {"pool_size": few(r), "padding": "same"}),
    "batch_norm": Recipe(LAST, lambda r, s: {"scale": yes(r), "center": yes(r)}),
    "cast": Recipe(anything, lambda r, s: {"dtype": either(r, "float32", "int64", "bool", "float16")}),
    "clip": Recipe(floats(), lambda r, s: {"minimum": -1, "maximum": either(r, None, 1)}),
    "compare": Recipe(numbers, lambda r, s: {"function": either(r, "less", "equal"), "value": few(r)}),
    "concat": Recipe(ends, beside=but_last),
    "constant": Recipe(nothing, lambda r, s: {"value": few(r), "shape": pair(r)}, reads={"batch_of": batched}),
    "conv1d": Recipe(SEQUENCE, lambda r, s: {"filters": few(r), "kernel_size": few(r), "padding": [[few(r), 3]]}),
    "conv2d": Recipe(IMAGE, lambda r, s: {"filters": few(r), "kernel_size": pair(r), "strides": few(r)}),
    "conv2d_transpose": Recipe(IMAGE, lambda r, s: {"filters": few(r), "kernel_size": pair(r), "strides": pair(r)}),
    "conv3d": Recipe(VOLUME, lambda r, s: {"filters": few(r), "kernel_size": few(r), "use_bias": yes(r)}),
    "crop": Recipe(long, lambda r, s: {"cropping": either(r, [[0, 1]], [[1, 0]])}),
    "cumsum": Recipe(LAST, lambda r, s: {"reverse": yes(r), "exclusive": yes(r)}),
    "dense": Recipe(LAST, lambda r, s: {"units": few(r), "use_bias": yes(r)}),
    "depthwise_conv2d": Recipe(IMAGE, lambda r, s: {"kernel_size": few(r), "depth_multiplier": few(r)}),
    "divide": Recipe(floats(), beside=alike),
    "dot": Recipe(floats(1), lambda r, s: {"normalize": yes(r), "keepdims": yes(r)}, equal),
    "drop_path": Recipe(floats(), lambda r, s: {"rate": either(r, 0.0, 0.5)}),
    "dropout": Recipe(floats(), lambda r, s: {"rate": either(r, 0.0, 0.5)}),
    "embedding": Recipe(integers, lambda r, s: {"input_dim": 9, "output_dim": few(r)}),
    "flatten": Recipe(known),
    "gather": Recipe(long, lambda r, s: {"indices": either(r, 0, [1, 0, 0], [-1])}),
    "gaussian_noise": Recipe(floats(), lambda r, s: {"stddev": 0.5}),
    "global_average_pool": Recipe(IMAGE, lambda r, s: {"keepdims": yes(r)}),
    "global_max_pool": Recipe(IMAGE, lambda r, s: {"keepdims": yes(r)}),
    "group_norm": Recipe(IMAGE, lambda r, s: {"groups": either(r, 1, last(s)), "scale": yes(r)}),
    "gru": Recipe(SEQUENCE, lambda r, s: {**cell(r), "reset_after": yes(r)}, reads={"lengths": lengths}),
    "layer_norm": Recipe(LAST, lambda r, s: {"begin_norm_axis": either(r, 1, -1), "center": yes(r)}),
    "local_response_norm": Recipe(IMAGE, lambda r, s: {"depth_radius": few(r)}),
    "lstm": Recipe(
        SEQUENCE,
        lambda r, s: {**cell(r), "use_peepholes": yes(r), "projection": either(r, None, 2)},
        reads={"lengths": lengths},
    ),
    "math": Recipe(floats(), lambda r, s: {"function": either(r, "abs", "cos", "floor", "sign", "square")}),
    "matmul": Recipe(SEQUENCE, lambda r, s: either(r, {"transpose_a": True}, {"transpose_b": True}), equal),
    "max_pool": Recipe(IMAGE, lambda r, s: {"pool_size": pair(r), "strides": few(r), "padding": "same"}),
    "maximum": Recipe(numbers, beside=alike),
    "minimum": Recipe(numbers, beside=alike),
    "multiply": Recipe(numbers, beside=alike),
    "one_hot": Recipe(integers, lambda r, s: {"depth": few(r)}),
    "pad": Recipe(LAST, lambda r, s: {"paddings": [pair(r)]}),
    "position_embedding": Recipe(SEQUENCE, lambda r, s: {"max_length": 99}),
    "position_encoding": Recipe(even),
    "random": Recipe(
        nothing,
        lambda r, s: {"shape": pair(r), "distribution": either(r, "normal", "uniform", "bernoulli")},
        reads={"batch_of": batched},
    ),
    "reduce": Recipe(LAST, lambda r, s: {"function": either(r, "mean", "max"), "axis": 1, "keepdims": yes(r)}),
    "reshape": Recipe(known, lambda r, s: {"shape": either(r, [-1], [1, -1], [size(s), 1])}),
    "resize": Recipe(IMAGE, lambda r, s: either(r, {"size": pair(r)}, {"scale": 2, "method": "nearest"})),
    "rms_norm": Recipe(LAST, lambda r, s: {"scale": yes(r)}),
    "scale_gradient": Recipe(floats(), lambda r, s: {"scale": either(r, -1, 0, 0.5)}),
    "separable_conv2d": Recipe(IMAGE, lambda r, s: {"filters": few(r), "kernel_size": few(r), "strides": few(r)}),
    "slice": Recipe(long, lambda r, s: {"stop": 1} if yes(r) else {"start": -1}),
    "split": Recipe(ends, lambda r, s: {"parts": [1, last(s) - 1] if last(s) > 1 else 1}),
    "stack": Recipe(anything, lambda r, s: {"axis": either(r, 1, -1)}, equal),
    "stop_gradient": Recipe(anything),
    "subtract": Recipe(numbers, beside=alike),
    "transpose": Recipe(lambda s: len(s.shape) > 0, lambda r, s: {"perm": shuffled(r, s)}),
    "variable": Recipe(nothing, lambda r, s: {"shape": pair(r)}, reads={"batch_of": batched}),
    "where": Recipe(lambda s: numbers(s) and s.shape == (4,), beside=alike, reads={"condition": conditions}),
}
"""By kind; ``scope``, ``block``, ``scan`` and ``decode`` hold layers and are made around them."""

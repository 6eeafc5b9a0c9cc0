"""How to make a valid layer of every kind for a tensor that is there: one line a kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from expkit.network.layer import TensorSpec

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


def floats(*ranks: int, last_known: bool = False) -> Fits:
    """Take float32 tensors, of given ranks (without the batch) if any are given."""
    return lambda spec: (
        spec.dtype == "float32"
        and (not ranks or len(spec.shape) in ranks)
        and (not last_known or (len(spec.shape) > 0 and spec.shape[-1] is not None))
    )


def known(spec: TensorSpec) -> bool:
    """Take tensors whose sizes are all known."""
    return None not in spec.shape


def integers(spec: TensorSpec) -> bool:
    return spec.dtype in ("int32", "int64")


def equal(first: TensorSpec, other: TensorSpec) -> bool:
    return first == other


def all_but_last(first: TensorSpec, other: TensorSpec) -> bool:
    return (
        first.dtype == other.dtype
        and len(other.shape) > 0
        and first.shape[:-1] == other.shape[:-1]
        and (first.batched == other.batched and len(first.shape) == len(other.shape))
    )


def size(spec: TensorSpec) -> int:
    total = 1
    for part in spec.shape:
        assert part is not None
        total *= part
    return total


def few(rng: Random) -> int:
    return rng.randint(1, 4)


def either(rng: Random, *choices: Any) -> Any:
    return rng.choice(choices)


IMAGE = floats(3, last_known=True)
LAST = floats(1, 2, 3, last_known=True)

RECIPES: dict[str, Recipe] = {
    "activation": Recipe(floats(), lambda r, s: {"function": either(r, "relu", "tanh", "gelu")}),
    "add": Recipe(anything, beside=equal),
    "average_pool": Recipe(IMAGE, lambda r, s: {"pool_size": few(r), "padding": "same"}),
    "batch_norm": Recipe(LAST, lambda r, s: {"scale": either(r, True, False), "center": either(r, True, False)}),
    "concat": Recipe(lambda s: len(s.shape) > 0, beside=all_but_last),
    "constant": Recipe(nothing, lambda r, s: {"value": few(r), "shape": [few(r), few(r)]}),
    "conv2d": Recipe(IMAGE, lambda r, s: {"filters": few(r), "kernel_size": [few(r), few(r)], "strides": few(r)}),
    "dense": Recipe(LAST, lambda r, s: {"units": few(r), "use_bias": either(r, True, False)}),
    "dropout": Recipe(floats(), lambda r, s: {"rate": either(r, 0.0, 0.5)}),
    "embedding": Recipe(integers, lambda r, s: {"input_dim": 9, "output_dim": few(r)}),
    "flatten": Recipe(known),
    "max_pool": Recipe(IMAGE, lambda r, s: {"pool_size": [few(r), few(r)], "strides": few(r), "padding": "same"}),
    "multiply": Recipe(floats(), beside=equal),
    "reshape": Recipe(known, lambda r, s: {"shape": either(r, [-1], [1, -1], [size(s), 1])}),
    "variable": Recipe(nothing, lambda r, s: {"shape": [few(r), few(r)]}),
}
"""By kind; ``scope`` and ``block`` hold layers and are made around them."""

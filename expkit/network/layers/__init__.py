"""The kinds of layers, one file per family; importing this package registers them all."""

from expkit.network.layers import (
    convolution,
    dense,
    embedding,
    merge,
    noise,
    normalization,
    pooling,
    scope,
    shape,
    values,
)

__all__ = [
    "convolution",
    "dense",
    "embedding",
    "merge",
    "noise",
    "normalization",
    "pooling",
    "scope",
    "shape",
    "values",
]

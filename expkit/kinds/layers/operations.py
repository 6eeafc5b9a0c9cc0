"""Operations of layers whose implementation depends on how the graph is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf
from expkit.kinds.layers.tensor_shapes import sizes_to_reshape

__all__ = ["Operations", "dense_product", "unrolls", "using"]

_LONGEST_UNROLLED = 64
"""Steps of the longest loop that is unrolled.

Unrolled, 28 steps of an LSTM train in two thirds of the time of a loop in the graph; more steps make a large graph.
"""


def _product(rows: Any, kernel: Any, bias: Any) -> Any:
    product = tf.matmul(rows, kernel)
    return product if bias is None else tf.nn.bias_add(product, bias)


@dataclass(frozen=True)
class Operations:
    """Implementations of the operations; the defaults are right for every graph."""

    product: Callable[[Any, Any, Any], Any] = _product
    """Takes rows [batch, features], a kernel [features, units] and a bias [units] or ``None``."""
    unrolls_loops: bool = True
    """Whether short loops are unrolled."""


_PLAIN = Operations()
_current: ContextVar[Operations] = ContextVar("operations", default=_PLAIN)


@contextmanager
def using(operations: Operations) -> Iterator[None]:
    """Connect the layers of a ``with`` block by these implementations."""
    token = _current.set(operations)
    try:
        yield
    finally:
        _current.reset(token)


def dense_product(x: Any, kernel: Any, bias: Any = None) -> Any:
    """Return ``x @ kernel + bias`` over the last dimension of a tensor of rank 2 or more."""
    product = _current.get().product
    if x.shape.rank == 2:
        return product(x, kernel, bias)
    result = product(tf.reshape(x, [-1, x.shape.as_list()[-1]]), kernel, bias)
    return tf.reshape(result, [*sizes_to_reshape(x)[:-1], result.shape.as_list()[-1]])


def unrolls(steps: int | None) -> bool:
    """Return whether a loop of this many steps, ``None`` if unknown, is unrolled."""
    return steps is not None and steps <= _LONGEST_UNROLLED and _current.get().unrolls_loops

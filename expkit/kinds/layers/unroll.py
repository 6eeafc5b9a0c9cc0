"""The loop of a recurrent cell over the steps of sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf
from expkit.kinds.layers.operations import dense_product, unrolls
from expkit.kinds.layers.tensor_shapes import sizes_of

__all__ = ["Cell", "State", "over_time"]

State = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A recurrent cell: the product of its inputs, [batch, time, features], and the step from state to state."""

    kernel: Any
    """[features, size]; the inputs of all steps are multiplied at once, ``x @ kernel + bias``."""
    bias: Any
    """[size]."""
    step: Callable[[Any, State], State]
    """Takes the projected input of one step, [batch, size], and the state; returns the next, the output first."""
    recurrent: Any = None
    """Kernel whose product with the previous output is added to the projected input."""


def over_time(cell: Cell, x: Any, state: State, *, lengths: Any, backward: bool, sequence: bool) -> tuple[Any, State]:
    """Run a cell over sequences; beyond a sequence's length its state stays and its outputs are 0.

    Args:
        cell: the cell.
        x: inputs, [batch, time, features].
        state: initial state, each [batch, ...].
        lengths: integers, [batch]; ``None`` if all steps count.
        backward: run from the last step to the first.
        sequence: return the outputs of all steps.

    Returns:
        Outputs [batch, time, ...] (``None`` without ``sequence``), and the last state.
    """

    def masked(index: Any, projected: Any, state: State, recurrent: Any) -> tuple[Any, State]:
        if recurrent is not None:
            projected = projected + tf.matmul(state[0], recurrent)
        after = cell.step(projected, state)
        if lengths is None:
            return after[0], after
        counts = (tf.cast(index, lengths.dtype) < lengths)[:, None]
        output = tf.where_v2(counts, after[0], tf.zeros_like(after[0])) if sequence else None
        return output, tuple(tf.where_v2(counts, new, old) for new, old in zip(after, state, strict=True))

    count, time_major = sizes_of(x)[1], tf.transpose(x, (1, 0, 2))
    if unrolls(x.shape[1]):
        previous: list[Any] = [None] * count
        steps = tf.unstack(_projected(time_major, cell, previous))
        recurrent = None if cell.recurrent is None else tf.stop_gradient(cell.recurrent)
        outputs: list[Any] = [None] * count
        for index in reversed(range(count)) if backward else range(count):
            previous[index] = state[0]
            outputs[index], state = masked(index, steps[index], state, recurrent)
        return tf.stack(outputs, axis=1) if sequence else None, state

    projected = dense_product(time_major, cell.kernel, cell.bias)
    read = tf.TensorArray(projected.dtype, count, element_shape=projected.shape[1:]).unstack(projected)
    written = tf.TensorArray(projected.dtype, count if sequence else 0, element_shape=state[0].shape)

    def body(done: Any, written: Any, state: State) -> tuple[Any, Any, State]:
        index = count - 1 - done if backward else done
        output, state = masked(index, read.read(index), state, cell.recurrent)
        return done + 1, written.write(index, output) if sequence else written, state

    _, written, state = tf.while_loop(
        lambda done, *_: done < count, body, (tf.constant(0), written, state), maximum_iterations=x.shape[1]
    )
    if not sequence:
        return None, state
    stacked = written.stack()
    return tf.transpose(stacked, (1, 0, *range(2, stacked.shape.rank))), state


def _projected(x: Any, cell: Cell, previous: list[Any]) -> Any:
    """Return ``x @ kernel + bias``, time first, through which the recurrent kernel gets its gradient, too.

    The gradient of a projected input is that of the product added to it. So the gradients of both kernels and of the
    bias are one product, of all steps' inputs and previous outputs; step by step, the recurrent kernel's would be a
    small product and a sum of the kernel's size each. ``previous``, the outputs before all steps, is filled by the time
    gradients are built.
    """
    if cell.recurrent is None:
        return dense_product(x, cell.kernel, cell.bias)

    def project(x: Any, kernel: Any, bias: Any, recurrent: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, ...]:
            ones = tf.ones_like(x[:, :, :1])
            factors = tf.concat([x, tf.stack(previous), ones], axis=-1)
            flat = [tf.reshape(tensor, [-1, tensor.shape[-1]]) for tensor in (factors, upstream)]
            sizes = [kernel.shape[0], recurrent.shape[0], 1]
            of_kernel, of_recurrent, of_bias = tf.split(tf.matmul(*flat, transpose_a=True), sizes)
            of_x = dense_product(upstream, tf.transpose(kernel))
            return of_x, of_kernel, of_bias[0], of_recurrent

        return dense_product(x, kernel, bias), gradient

    return tf.custom_gradient(project)(x, cell.kernel, cell.bias, cell.recurrent)

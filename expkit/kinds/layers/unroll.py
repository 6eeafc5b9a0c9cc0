"""The loop over the steps of sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit import tf1 as tf
from expkit.kinds.layers.tensor_shapes import sizes_of, times

__all__ = ["State", "over_time"]

# Written out step by step, 28 steps of an LSTM train in two thirds of the time that a loop in the graph takes; a long
# sequence would make a large graph. XLA is the other way round: it compiles a loop sooner, and runs it faster.
_WRITTEN_OUT = 64

State = tuple[Any, ...]


def over_time(
    step: Callable[[Any, State], State],
    x: Any,
    kernel: Any,
    bias: Any,
    state: State,
    *,
    recurrent: Any = None,
    compiled: bool = False,
    lengths: Any = None,
    backward: bool = False,
    sequence: bool = True,
) -> tuple[Any, State]:
    """Run a cell over sequences; beyond a sequence's length its state stays and its outputs are 0.

    Args:
        step: from what the cell reads at one step, [batch, size], and its state to the next state, the output first.
        x: inputs, [batch, time, features].
        kernel: [features, size]; what the cell reads at all steps is one product, ``x @ kernel + bias``.
        bias: [size].
        state: first state, each [batch, ...].
        recurrent: kernel whose product with the output of the step before is added to what the cell reads.
        compiled: whether XLA compiles it.
        lengths: whole numbers, [batch]; ``None`` where all steps count.
        backward: whether to go from the last step to the first.
        sequence: whether the outputs of all steps are wanted.

    Returns:
        Outputs [batch, time, ...] (``None`` when not wanted), and the last state.
    """

    def masked(place: Any, read: Any, state: State, recurrent: Any) -> tuple[Any, State]:
        after = step(read if recurrent is None else read + tf.matmul(state[0], recurrent), state)
        if lengths is None:
            return after[0], after
        counts = (tf.cast(place, lengths.dtype) < lengths)[:, None]
        output = tf.where_v2(counts, after[0], tf.zeros_like(after[0])) if sequence else None
        return output, tuple(tf.where_v2(counts, new, old) for new, old in zip(after, state, strict=True))

    count, turned = sizes_of(x)[1], tf.transpose(x, (1, 0, 2))
    if x.shape[1] is not None and x.shape[1] <= _WRITTEN_OUT and not compiled:
        before: list[Any] = [None] * count
        reads = times(turned, kernel, bias) if recurrent is None else _reads(turned, kernel, bias, recurrent, before)
        parts = tf.unstack(reads)
        fixed = None if recurrent is None else tf.stop_gradient(recurrent)
        outputs: list[Any] = [None] * count
        for place in reversed(range(count)) if backward else range(count):
            before[place] = state[0]
            outputs[place], state = masked(place, parts[place], state, fixed)
        return tf.stack(outputs, axis=1) if sequence else None, state

    steps = times(turned, kernel, bias)
    taken = tf.TensorArray(steps.dtype, count, element_shape=steps.shape[1:]).unstack(steps)
    written = tf.TensorArray(steps.dtype, count if sequence else 0, element_shape=state[0].shape)

    def body(done: Any, written: Any, state: State) -> tuple[Any, Any, State]:
        place = count - 1 - done if backward else done
        output, state = masked(place, taken.read(place), state, recurrent)
        return done + 1, written.write(place, output) if sequence else written, state

    _, written, state = tf.while_loop(
        lambda done, *_: done < count, body, (tf.constant(0), written, state), maximum_iterations=x.shape[1]
    )
    if not sequence:
        return None, state
    stacked = written.stack()
    return tf.transpose(stacked, (1, 0, *range(2, stacked.shape.rank))), state


def _reads(x: Any, kernel: Any, bias: Any, recurrent: Any, before: list[Any]) -> Any:
    """Return ``x @ kernel + bias``, through which the recurrent kernel gets its gradient, too.

    The gradient of what a step reads is that of the product added to it. So the gradients of both kernels and of the
    bias are one product, of what they were multiplied by at all steps; step by step, the recurrent kernel's would be a
    small product and a sum of the kernel's size each. ``before``, the outputs before all steps, is filled by the time
    gradients are asked for.
    """

    def read(x: Any, kernel: Any, bias: Any, recurrent: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, ...]:
            ones = tf.ones_like(x[:, :, :1])
            factors = tf.concat([x, tf.stack(before), ones], axis=-1)
            flat = [tf.reshape(tensor, [-1, tensor.shape[-1]]) for tensor in (factors, upstream)]
            sizes = [kernel.shape[0], recurrent.shape[0], 1]
            of_kernel, of_recurrent, of_bias = tf.split(tf.matmul(*flat, transpose_a=True), sizes)
            of_x = times(upstream, tf.transpose(kernel))
            return of_x, of_kernel, of_bias[0], of_recurrent

        return times(x, kernel, bias), gradient

    return tf.custom_gradient(read)(x, kernel, bias, recurrent)

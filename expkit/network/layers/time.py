"""The loop over the steps of sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit import tf1 as tf
from expkit.network.layers.sizes import sizes_of

__all__ = ["State", "over_time"]

# Written out step by step, 28 steps of an LSTM train in two thirds of the time that a loop in the graph takes; a long
# sequence would make a large graph. XLA is the other way round: it compiles a loop sooner, and runs it faster.
_WRITTEN_OUT = 64

State = tuple[Any, ...]


def over_time(
    step: Callable[[Any, State], State],
    steps: Any,
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
        step: from what the cell reads at one step, [batch, ...], and its state to the next state, the output first.
        steps: what it reads, [time, batch, ...].
        state: first state, each [batch, ...].
        recurrent: kernel whose product with the output of the step before is added to what the cell reads.
        compiled: whether XLA compiles it.
        lengths: whole numbers, [batch]; ``None`` where all steps count.
        backward: whether to go from the last step to the first.
        sequence: whether the outputs of all steps are wanted.

    Returns:
        Outputs [batch, time, ...] (``None`` when not wanted), and the last state.
    """

    def masked(place: Any, read: Any, state: State, kernel: Any) -> tuple[Any, State]:
        after = step(read if kernel is None else read + tf.matmul(state[0], kernel), state)
        if lengths is None:
            return after[0], after
        counts = (tf.cast(place, lengths.dtype) < lengths)[:, None]
        output = tf.where_v2(counts, after[0], tf.zeros_like(after[0])) if sequence else None
        return output, tuple(tf.where_v2(counts, new, old) for new, old in zip(after, state, strict=True))

    static = steps.shape[0]
    if static is not None and static <= _WRITTEN_OUT and not compiled:
        before: list[Any] = [None] * static
        kernel = None if recurrent is None else tf.stop_gradient(recurrent)
        parts = tf.unstack(steps if recurrent is None else _with_gradient_of(recurrent, steps, before))
        outputs: list[Any] = [None] * static
        for place in reversed(range(static)) if backward else range(static):
            before[place] = state[0]
            outputs[place], state = masked(place, parts[place], state, kernel)
        return tf.stack(outputs, axis=1) if sequence else None, state

    count = sizes_of(steps)[0]
    reads = tf.TensorArray(steps.dtype, count, element_shape=steps.shape[1:]).unstack(steps)
    written = tf.TensorArray(steps.dtype, count if sequence else 0, element_shape=state[0].shape)

    def body(done: Any, written: Any, state: State) -> tuple[Any, Any, State]:
        place = count - 1 - done if backward else done
        output, state = masked(place, reads.read(place), state, recurrent)
        return done + 1, written.write(place, output) if sequence else written, state

    _, written, state = tf.while_loop(
        lambda done, *_: done < count, body, (tf.constant(0), written, state), maximum_iterations=static
    )
    if not sequence:
        return None, state
    stacked = written.stack()
    return tf.transpose(stacked, (1, 0, *range(2, stacked.shape.rank))), state


def _with_gradient_of(kernel: Any, steps: Any, before: list[Any]) -> Any:
    """Return the steps, through which the kernel gets its gradient: one product for the outputs before all steps.

    The gradient of what a step reads is that of the product added to it. Step by step, the kernel's would be a small
    product and a sum of the kernel's size each. ``before`` is filled by the time gradients are asked for.
    """

    def same(steps: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            rows = tf.concat(before, axis=0)
            return upstream, tf.matmul(rows, tf.reshape(upstream, [-1, kernel.shape[1]]), transpose_a=True)

        return tf.identity(steps), gradient

    return tf.custom_gradient(same)(steps, kernel)

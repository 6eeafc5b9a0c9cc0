"""The loop over the steps of sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit import tf1 as tf
from expkit.network.layers.sizes import sizes_of

__all__ = ["State", "over_time"]

# Written out step by step, 28 steps of an LSTM train in two thirds of the time that a loop in the graph takes; a long
# sequence would make a large graph.
_WRITTEN_OUT = 64

State = tuple[Any, ...]


def over_time(
    step: Callable[[Any, State], State],
    steps: Any,
    state: State,
    *,
    lengths: Any = None,
    backward: bool = False,
    sequence: bool = True,
) -> tuple[Any, State]:
    """Run a cell over sequences; beyond a sequence's length its state stays and its outputs are 0.

    Args:
        step: from what the cell reads at one step, [batch, ...], and its state to the next state, the output first.
        steps: what it reads, [time, batch, ...].
        state: first state, each [batch, ...].
        lengths: whole numbers, [batch]; ``None`` where all steps count.
        backward: whether to go from the last step to the first.
        sequence: whether the outputs of all steps are wanted.

    Returns:
        Outputs [batch, time, ...] (``None`` when not wanted), and the last state.
    """

    def masked(place: Any, read: Any, state: State) -> tuple[Any, State]:
        after = step(read, state)
        if lengths is None:
            return after[0], after
        counts = (tf.cast(place, lengths.dtype) < lengths)[:, None]
        output = tf.where_v2(counts, after[0], tf.zeros_like(after[0])) if sequence else None
        return output, tuple(tf.where_v2(counts, new, old) for new, old in zip(after, state, strict=True))

    static = steps.shape[0]
    if static is not None and static <= _WRITTEN_OUT:
        parts = tf.unstack(steps)
        outputs: list[Any] = [None] * static
        for place in reversed(range(static)) if backward else range(static):
            outputs[place], state = masked(place, parts[place], state)
        return tf.stack(outputs, axis=1) if sequence else None, state

    count = sizes_of(steps)[0]
    reads = tf.TensorArray(steps.dtype, count, element_shape=steps.shape[1:]).unstack(steps)
    written = tf.TensorArray(steps.dtype, count if sequence else 0, element_shape=state[0].shape)

    def body(done: Any, written: Any, state: State) -> tuple[Any, Any, State]:
        place = count - 1 - done if backward else done
        output, state = masked(place, reads.read(place), state)
        return done + 1, written.write(place, output) if sequence else written, state

    _, written, state = tf.while_loop(
        lambda done, *_: done < count, body, (tf.constant(0), written, state), maximum_iterations=static
    )
    if not sequence:
        return None, state
    stacked = written.stack()
    return tf.transpose(stacked, (1, 0, *range(2, stacked.shape.rank))), state

"""The loop over steps: written out, in the graph, or compiled, it gives the same numbers and gradients."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call, Inputs
from expkit.kinds.layers.operations import Operations, using
from expkit.registry import kinds
from support.layer_tables import Array
from support.layer_tables.sequences import BOTH, CUDNN, GRU, LENGTHS, LSTM, PEEPHOLES, PROJECTED, X
from support.networks import plain_and_compiled

pytestmark = pytest.mark.untraced

CELLS: dict[str, tuple[str, dict[str, Any], dict[str, Array]]] = {
    "lstm": ("lstm", {}, LSTM),
    "lstm, peepholes": ("lstm", {"use_peepholes": True}, PEEPHOLES),
    "lstm, projection": ("lstm", {"projection": 3}, PROJECTED),
    "lstm, both": ("lstm", {"direction": "both"}, BOTH),
    "gru": ("gru", {}, GRU),
    "gru, backward": ("gru", {"direction": "backward"}, GRU),
    "gru, cudnn": ("gru", {"reset_after": True}, CUDNN),
}


@functools.cache
def trained(cell: str, *, sequence: bool, loop: bool) -> list[Array]:
    """Return the output, the last state, and the gradients of input and variables; compiled they are the same.

    A layer that returns a sequence reads lengths.
    """
    kind, own, values = CELLS[cell]
    layer: Any = kinds("layer")[kind](units=2, return_sequences=sequence, **own)

    def connected(x: Any, counts: Any, *variables: Any) -> Any:
        bound = dict(zip(values, variables, strict=True))
        named = {"lengths": counts} if sequence else {}
        with using(Operations(unrolls_loops=not loop)):
            outputs = layer.apply(bound, Inputs([x], named), Call(training=True))
        loss = tf.reduce_sum(outputs[""] ** 2) + tf.reduce_sum(outputs["state_h"])
        return [outputs[""], outputs["state_h"], *tf.gradients(loss, [x, *variables])]

    plain, compiled = plain_and_compiled(connected, X, LENGTHS, *values.values())
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    return list(plain)


@pytest.mark.parametrize(
    ("cell", "sequence"),
    [*((cell, True) for cell in CELLS), ("lstm", False)],
    ids=[*CELLS, "lstm, last output"],
)
def test_a_loop_in_the_graph_trains_as_an_unrolled_one(cell: str, sequence: bool) -> None:
    expected = trained(cell, sequence=sequence, loop=False)
    got = trained(cell, sequence=sequence, loop=True)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_steps_beyond_a_length_change_nothing_and_get_no_gradient() -> None:
    values = trained("lstm, both", sequence=True, loop=False)
    output, gradient = values[0], values[2]
    for example, length in enumerate(LENGTHS):
        assert not output[example, length:].any()
        assert not gradient[example, length:].any()
        assert length == 0 or np.abs(gradient[example, :length]).min() > 0

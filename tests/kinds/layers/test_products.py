"""Products with large kernels in parts, for cores that do an operation each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.kinds.layers import tensor_shapes as sizes
from expkit.kinds.layers.tensor_shapes import times


def multiplied(shape: tuple[int, ...], parts: int) -> tuple[dict[str, Any], int]:
    """Return a product, its gradients, and how many products they take."""
    draw = np.random.default_rng(0)
    with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
        x, kernel, bias = (tf.constant(draw.normal(size=size).astype("f")) for size in (shape, (shape[-1], 10), (10,)))
        result = times(x, kernel, bias, parts=parts)
        gradients = tf.gradients(tf.reduce_sum(result**2), [x, kernel, bias])
        count = sum(item.type == "MatMul" for item in graph.get_operations())
        return dict(zip(("", "x", "kernel", "bias"), session.run([result, *gradients]), strict=True)), count


@pytest.mark.parametrize(
    ("shape", "parts", "products"),
    [
        pytest.param((8, 12), 2, 4, id="two"),
        pytest.param((2, 4, 12), 3, 5, id="three, of steps"),
        pytest.param((8, 13), 2, 3, id="features that no two parts have"),
        pytest.param((8, 8), 2, 3, id="a small kernel"),
    ],
)
def test_a_large_product_is_a_sum_of_parts_and_its_gradients_are_whole(
    shape: tuple[int, ...], parts: int, products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "LEAST_SPLIT", 100)
    whole, count = multiplied(shape, 1)
    assert count == 3
    got, count = multiplied(shape, parts)
    assert count == products
    for key, value in got.items():
        np.testing.assert_allclose(value, whole[key], rtol=1e-4, atol=1e-4, err_msg=key)

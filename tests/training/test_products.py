"""Products with large kernels in splits, for cores that do an operation each."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.kinds.layers.operations import Operations, dense_product, using
from expkit.training import products as products_module
from expkit.training.products import split_product


def multiplied(shape: tuple[int, ...], splits: int) -> tuple[dict[str, Any], int]:
    """Return a product, its gradients, and how many products they take."""
    draw = np.random.default_rng(0)
    with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
        x, kernel, bias = (tf.constant(draw.normal(size=size).astype("f")) for size in (shape, (shape[-1], 10), (10,)))
        with using(Operations(product=partial(split_product, splits=splits, bfloat16=False))):
            result = dense_product(x, kernel, bias)
        gradients = tf.gradients(tf.reduce_sum(result**2), [x, kernel, bias])
        count = sum(item.type == "MatMul" for item in graph.get_operations())
        return dict(zip(("", "x", "kernel", "bias"), session.run([result, *gradients]), strict=True)), count


@pytest.mark.parametrize(
    ("shape", "splits", "products"),
    [
        pytest.param((8, 12), 2, 4, id="two"),
        pytest.param((2, 4, 12), 3, 5, id="three, of steps"),
        pytest.param((8, 13), 2, 3, id="features that no two splits have"),
        pytest.param((8, 8), 2, 3, id="a small kernel"),
    ],
)
def test_a_large_product_is_a_sum_of_splits_and_its_gradients_are_whole(
    shape: tuple[int, ...], splits: int, products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products_module, "MIN_SPLIT_ELEMENTS", 100)
    whole, count = multiplied(shape, 1)
    assert count == 3
    got, count = multiplied(shape, splits)
    assert count == products
    for key, value in got.items():
        np.testing.assert_allclose(value, whole[key], rtol=1e-4, atol=1e-4, err_msg=key)

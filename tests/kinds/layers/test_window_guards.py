"""Windows over inputs of unknown size are held to the size that is fed: TensorFlow answers with a wrong shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.network.build import connect, create_variables, placeholders
from support.networks import spec_of

pytestmark = pytest.mark.untraced

CONV = {"kernel_size": 3, "padding": "valid"}
CASES: list[tuple[dict[str, Any], int, int]] = [
    ({"kind": "conv1d", "filters": 2, **CONV}, 1, 3),
    ({"kind": "conv1d", "filters": 2, **CONV, "dilation_rate": 2}, 1, 5),
    ({"kind": "conv2d", "filters": 2, **CONV}, 2, 3),
    ({"kind": "conv2d", "filters": 2, **CONV, "strides": 2}, 2, 3),
    ({"kind": "conv2d", "filters": 2, **CONV, "dilation_rate": 2}, 2, 5),
    ({"kind": "conv2d", "filters": 2, "kernel_size": 3, "padding": [[0, 1], [0, 1]], "dilation_rate": 2}, 2, 4),
    ({"kind": "conv3d", "filters": 2, **CONV}, 3, 3),
    ({"kind": "conv3d", "filters": 2, **CONV, "dilation_rate": 2}, 3, 5),
    ({"kind": "depthwise_conv2d", **CONV}, 2, 3),
    ({"kind": "depthwise_conv2d", **CONV, "dilation_rate": 2}, 2, 5),
    ({"kind": "separable_conv2d", "filters": 2, **CONV, "dilation_rate": 2}, 2, 5),
    ({"kind": "max_pool", "pool_size": 3}, 2, 3),
    ({"kind": "average_pool", "pool_size": 3}, 1, 3),
    ({"kind": "average_pool", "pool_size": 3}, 2, 3),
    ({"kind": "average_pool", "pool_size": 3}, 3, 3),
    ({"kind": "crop", "cropping": [[1, 1]]}, 1, 3),
]


@pytest.mark.parametrize(("layer", "dimensions", "least"), CASES, ids=lambda value: str(value)[:60])
def test_a_window_over_less_than_itself_is_an_error(layer: dict[str, Any], dimensions: int, least: int) -> None:
    spec = spec_of({"inputs": {"x": {"shape": [*[None] * dimensions, 2]}}, "layers": {"it": layer}})
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = placeholders(spec)
        output = connect(spec, create_variables(spec, 0), inputs).outputs["out"]
        session.run(tf.global_variables_initializer())
        right = session.run(output, {inputs["x"]: np.ones((2, *[least] * dimensions, 2))})
        assert right.shape[:2] == (2, 1)
        for size in range(1, least):
            with pytest.raises(
                tf.errors.InvalidArgumentError, match=r"needs a window no larger than its input: [345] >"
            ):
                session.run(output, {inputs["x"]: np.ones((2, *[size] * dimensions, 2))})


def test_known_sizes_need_no_check_in_the_graph() -> None:
    spec = spec_of({"inputs": {"x": {"shape": [5, 2]}}, "layers": {"it": CASES[0][0]}})
    with tf.Graph().as_default() as graph:
        connect(spec, create_variables(spec, 0), placeholders(spec))
        assert "Assert" not in {operation.type for operation in graph.get_operations()}

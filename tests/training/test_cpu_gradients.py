"""Cheaper gradients: the same bits as TensorFlow's own where they promise it, and fewer operations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.sections.train import JitCompile, Precision
from expkit.training.cpu_gradients import cheaper_gradients, is_product
from expkit.training.execution import PLAIN, Execution
from expkit.training.graphs import train_graph
from expkit.training.sessions import Executor
from expkit.training.sums import results
from support.experiments import config_of, loaded, rewritten

POOLS: dict[str, tuple[int, int, Any]] = {
    "halves": (2, 2, "VALID"),
    "overlapping": (3, 2, "SAME"),
    "apart": (2, 3, "VALID"),
    "padded": (2, 2, [[0, 0], [1, 0], [0, 1], [0, 0]]),
}


def pooled(x: Any, pool: str, also: bool) -> Any:
    """Return a number that depends on the pooled positive part of a tensor; ``also`` on the positive part itself."""
    size, stride, padding = POOLS[pool]
    positive = tf.identity(tf.nn.relu(x), name="named")
    total = tf.reduce_sum(tf.nn.max_pool2d(positive, size, stride, padding) * tf.range(1.0, 4.0))
    return total + tf.reduce_mean(positive**2) if also else total


def gradient_of(x: np.ndarray, pool: str, also: bool, cheaper: bool) -> tuple[np.ndarray, list[Sequence[int]]]:
    """Return the gradient, and the shapes of what was masked on the way to it."""
    with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
        given = tf.constant(x)
        with cheaper_gradients(PLAIN) if cheaper else nullcontext():
            total = pooled(given, pool, also)
        (gradient,) = tf.gradients(total, [given])
        masked = [op.outputs[0].shape.as_list() for op in graph.get_operations() if op.type == "ReluGrad"]
        return session.run(gradient), masked


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("also", [False, True], ids=["only pooled", "read besides"])
def test_gradients_through_pooled_activations_are_tensorflows_bit_for_bit(pool: str, also: bool) -> None:
    draw = np.random.default_rng(3)
    x = draw.integers(-2, 3, (2, 7, 6, 3)).astype(np.float32)  # Many ties, and zeros.
    x[0, :4] = -1.0
    expected, masked_at = gradient_of(x, pool, also, cheaper=False)
    got, masked = gradient_of(x, pool, also, cheaper=True)
    assert np.abs(expected).sum() > 0
    assert got.tobytes() == expected.tobytes()
    assert masked_at == [[2, 7, 6, 3]]
    assert ([2, 7, 6, 3] in masked) == also
    assert len(masked) == 1


@pytest.mark.parametrize(
    ("execution", "products"),
    [
        (PLAIN, ["images"]),
        (Execution(jit_compile="update"), ["images"]),
        (Execution(precision="bfloat16"), ["rows", "steps"]),
        (Execution(jit_compile=True), []),
    ],
    ids=str,
)
def test_the_gradient_of_a_bias_is_a_product_where_that_is_faster(execution: Execution, products: list[str]) -> None:
    draw = np.random.default_rng(4)
    places = {"rows": (50, 6), "steps": (5, 10, 6), "images": (5, 2, 5, 6)}
    for place, shape in places.items():
        with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
            x, bias = draw.normal(size=shape).astype(np.float32), tf.constant(np.zeros(6, np.float32))
            with cheaper_gradients(execution):
                total = tf.reduce_sum(tf.nn.bias_add(tf.constant(x), bias) ** 2)
            (gradient,) = tf.gradients(total, [bias])
            assert session.run(gradient) == pytest.approx(2 * x.reshape(-1, 6).sum(axis=0), rel=1e-5, abs=1e-5)
            types = {op.type for op in graph.get_operations()}
            assert ("MatMul" in types, "BiasAddGrad" in types) == (place in products, place not in products)


@pytest.mark.parametrize("shape", [(None, 3), (None, None, 4, 3)], ids=["rows", "images"])
def test_the_gradient_of_a_bias_needs_no_known_number_of_rows(shape: tuple[int | None, ...]) -> None:
    with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
        x, bias = tf.placeholder(tf.float32, shape), tf.constant([1.0, 2.0, 3.0])
        with cheaper_gradients(Execution(precision="bfloat16" if len(shape) == 2 else "float32")):
            total = tf.reduce_sum(tf.nn.bias_add(x, bias))
        values = np.ones([7 if size is None else size for size in shape])
        (gradient,) = tf.gradients(total, [bias])
        assert "MatMul" in {op.type for op in graph.get_operations()}
        assert session.run(gradient, {x: values}).tolist() == [values.size // 3] * 3


def test_a_bias_of_channels_that_come_first_keeps_tensorflows_gradient() -> None:
    with tf.Graph().as_default() as graph:
        x, bias = tf.placeholder(tf.float32, (2, 3, 4, 4)), tf.constant([1.0, 2.0, 3.0])
        with cheaper_gradients(PLAIN):
            total = tf.reduce_sum(tf.nn.bias_add(x, bias, data_format="NCHW"))
        assert tf.gradients(total, [bias])[0].shape == (3,)
        (gradient,) = (op for op in graph.get_operations() if op.type == "BiasAddGrad")
        assert gradient.get_attr("data_format") == b"NCHW"


def test_the_gradient_of_sharded_images_precedes_that_of_the_kernel_unless_it_is_not_used() -> None:
    found = []
    bfloat16 = Execution(precision="bfloat16")
    for execution, parts in ((PLAIN, 1), (bfloat16, 2), (PLAIN, 2)):
        with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
            draw = np.random.default_rng(5)
            kernels = [
                tf.get_variable(name, initializer=draw.normal(size=shape).astype("f"), use_resource=True)
                for name, shape in (("a", (3, 3, 2, 4)), ("b", (3, 3, 4, 5)))
            ]
            x = tf.constant(draw.normal(size=(4, 6, 6, 2)).astype("f"))
            with cheaper_gradients(execution, parts):
                for kernel in kernels:
                    x = tf.nn.conv2d(x, kernel, 1, "SAME", name=f"of_{kernel.op.name}")
            gradients = tf.gradients(tf.reduce_sum(x**2), kernels)
            of_kernels = [item for item in graph.get_operations() if item.type == "Conv2DBackpropFilter"]
            waits = {item.inputs[0].op.type: [one.type for one in item.control_inputs] for item in of_kernels}
            session.run(tf.global_variables_initializer())
            found.append((session.run(gradients), waits))
    (whole, unordered), (_, left_alone), (got, ordered) = found
    assert unordered == left_alone == {"Const": [], "Conv2D": []}
    assert ordered == {"Const": [], "Conv2D": ["Conv2DBackpropInput"]}
    for value, expected in zip(got, whole, strict=True):
        assert value.tobytes() == expected.tobytes()


def test_a_product_is_recognized_by_the_operation_behind_it() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, (4, 4))
        product = tf.matmul(x, x)
        assert is_product(tf.identity(tf.identity(product)))
        assert not is_product(product + x)
        assert not is_product(x)


def test_a_product_cast_to_bfloat16_is_never_made_float32() -> None:
    if not tf.has_bfloat16():
        pytest.skip("the processor has no bfloat16")
    options, metadata = tf.RunOptions(output_partition_graphs=True), tf.RunMetadata()
    with tf.Graph().as_default() as graph:
        rows = tf.placeholder(tf.float32, (64, 64))
        product = rows
        for _ in range(4):  # Smaller graphs are not rewritten at all.
            product = tf.matmul(product, rows)
        read = tf.bitcast(tf.cast(product, tf.bfloat16), tf.uint16)
    with tf.training_session(graph, bfloat16=True) as session:
        session.run(read, {rows: np.zeros((64, 64))}, options=options, run_metadata=metadata)
    float32 = tf.float32.as_datatype_enum
    casts = [node for part in metadata.partition_graphs for node in part.node if node.op == "Cast"]
    assert casts
    assert [node.name for node in casts if node.attr["DstT"].type == float32] == []


@pytest.mark.parametrize("shape", [[], [2]], ids=["rows", "steps"])
@pytest.mark.parametrize(
    ("features", "precision", "joined"), [(256, "bfloat16", False), (16, "bfloat16", True), (256, "float32", True)]
)
def test_a_bias_is_fused_with_a_product_unless_bfloat16_makes_that_slower(
    tmp_path: Path, shape: list[int], features: int, precision: Precision, joined: bool
) -> None:
    if precision == "bfloat16" and not tf.has_bfloat16():
        pytest.skip("the processor has no bfloat16")
    network = {
        "inputs": {"x": {"shape": [*shape, features]}},
        "layers": {
            "first": {"kind": "dense", "units": 32, "activation": "relu"},
            "flat": {"kind": "flatten"},
            "logits": {"kind": "dense", "units": 3},
        },
        "outputs": {"logits": "logits"},
    }
    arrays = {"x": np.ones((60, *shape, features), np.float32), "label": np.arange(60) % 3}
    config = config_of(tmp_path, arrays, network=network)
    built = train_graph(*loaded(config), Execution(4, precision=precision))
    products = [
        node.op
        for node in rewritten(built).values()
        if node.op.endswith("MatMul") and "/first/" in node.name and "grad" not in node.name
    ]
    assert [("Fused" in product) for product in products] == [joined]


WORDS = {
    "inputs": {"x": {"shape": [6], "dtype": "int64"}},
    "layers": {
        "table": {"kind": "embedding", "input_dim": 9, "output_dim": 8},
        "each": {"kind": "dense", "units": 16, "activation": "relu"},
        "conv": {"kind": "conv1d", "filters": 16, "kernel_size": 3, "activation": "relu"},
        "pool": {"kind": "max_pool"},
        "rows": {"kind": "lstm", "units": 16},
        "logits": {"kind": "dense", "units": 3},
    },
    "outputs": {"logits": "logits"},
}


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("compiled", [False, "update"])
def test_sparse_and_dense_gradients_train_in_bfloat16(tmp_path: Path, compiled: JitCompile, accumulated: int) -> None:
    draw = np.random.default_rng(5)
    words = draw.integers(0, 9, (60, 6))
    train = {"gradient_accumulation_steps": accumulated}
    arrays = {"x": words, "label": words[:, 0] % 3}
    config = config_of(tmp_path, arrays, network=WORDS, optimizer={"learning_rate": 0.5}, train=train)
    losses = {}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16") if tf.has_bfloat16() else ("float32",)
    for precision in precisions:
        built = train_graph(*loaded(config), Execution(4, jit_compile=compiled, precision=precision))
        with Executor(built) as executor:
            executor.initialize()
            first, _, last = (results(config, executor.run(steps))["loss"] for steps in (4, 200, 40))
        assert last < first
        losses[precision] = last
    assert losses.get("bfloat16", losses["float32"]) == pytest.approx(losses["float32"], rel=0.1)

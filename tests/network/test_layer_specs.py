"""One table over all kinds of layers: what they own, what comes out, what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from expkit.network.initializers import fans
from expkit.network.layer import Layer, ShapeError, TensorSpec
from expkit.network.layers.scope import Scope
from expkit.network.layers.windows import window_output
from expkit.registry import kinds

Shape = tuple[int | None, ...]
STATISTICS = ("moving_mean", "moving_variance")


def layer(kind: str, fields: dict[str, Any]) -> Layer:
    made = kinds("layer")[kind](**fields)
    assert isinstance(made, Layer)
    return made


def inputs(*shapes: Shape | TensorSpec) -> list[TensorSpec]:
    return [shape if isinstance(shape, TensorSpec) else TensorSpec(shape) for shape in shapes]


INTEGERS = TensorSpec((4,), "int32")

SPECS: list[tuple[str, dict[str, Any], list[TensorSpec], dict[str, tuple[int, ...]], TensorSpec]] = [
    ("dense", {"units": 3}, inputs((4,)), {"kernel": (4, 3), "bias": (3,)}, TensorSpec((3,))),
    ("dense", {"units": 3, "use_bias": False}, inputs((4,)), {"kernel": (4, 3)}, TensorSpec((3,))),
    ("dense", {"units": 3}, inputs((None, 7, 4)), {"kernel": (4, 3), "bias": (3,)}, TensorSpec((None, 7, 3))),
    (
        "conv2d",
        {"filters": 5, "kernel_size": 3},
        inputs((8, 9, 2)),
        {"kernel": (3, 3, 2, 5), "bias": (5,)},
        TensorSpec((8, 9, 5)),
    ),
    (
        "conv2d",
        {"filters": 5, "kernel_size": (3, 2), "strides": (2, 3), "padding": "valid", "use_bias": False},
        inputs((8, 9, 1)),
        {"kernel": (3, 2, 1, 5)},
        TensorSpec((3, 3, 5)),
    ),
    (
        "conv2d",
        {"filters": 1, "kernel_size": 1, "strides": 2},
        inputs((None, 5, 1)),
        {"kernel": (1, 1, 1, 1), "bias": (1,)},
        TensorSpec((None, 3, 1)),
    ),
    ("max_pool", {}, inputs((8, 9, 2)), {}, TensorSpec((4, 4, 2))),
    ("max_pool", {"padding": "same"}, inputs((8, 9, 2)), {}, TensorSpec((4, 5, 2))),
    ("average_pool", {"pool_size": (2, 3), "strides": 1}, inputs((8, 9, 2)), {}, TensorSpec((7, 7, 2))),
    (
        "embedding",
        {"input_dim": 9, "output_dim": 2},
        inputs(INTEGERS),
        {"embeddings": (9, 2)},
        TensorSpec((4, 2)),
    ),
    (
        "embedding",
        {"input_dim": 9, "output_dim": 2},
        [TensorSpec((), "int64")],
        {"embeddings": (9, 2)},
        TensorSpec((2,)),
    ),
    (
        "batch_norm",
        {},
        inputs((8, 9, 2)),
        {"gamma": (2,), "beta": (2,), "moving_mean": (2,), "moving_variance": (2,)},
        TensorSpec((8, 9, 2)),
    ),
    (
        "batch_norm",
        {"center": False, "scale": False},
        inputs((3,)),
        {"moving_mean": (3,), "moving_variance": (3,)},
        TensorSpec((3,)),
    ),
    ("activation", {"function": "relu"}, inputs((4,)), {}, TensorSpec((4,))),
    ("dropout", {"rate": 0.5}, inputs((4, 2)), {}, TensorSpec((4, 2))),
    ("flatten", {}, inputs((4, 2, 3)), {}, TensorSpec((24,))),
    ("flatten", {}, [TensorSpec((), "int32")], {}, TensorSpec((1,), "int32")),
    ("reshape", {"shape": (2, -1)}, inputs((4, 3)), {}, TensorSpec((2, 6))),
    ("reshape", {"shape": (3, 4)}, inputs((12,)), {}, TensorSpec((3, 4))),
    ("reshape", {"shape": ()}, [TensorSpec((1,), "bool")], {}, TensorSpec((), "bool")),
    ("concat", {}, inputs((2, 3), (2, 4)), {}, TensorSpec((2, 7))),
    ("concat", {"axis": 1}, inputs((2, 3), (5, 3), (1, 3)), {}, TensorSpec((8, 3))),
    ("concat", {}, inputs((2, None), (2, 4)), {}, TensorSpec((2, None))),
    ("concat", {}, inputs(INTEGERS, INTEGERS), {}, TensorSpec((8,), "int32")),
    ("add", {}, inputs((2, 3), (2, 3)), {}, TensorSpec((2, 3))),
    ("multiply", {}, inputs(INTEGERS, INTEGERS, INTEGERS), {}, TensorSpec((4,), "int32")),
]


@pytest.mark.parametrize(("kind", "fields", "specs", "variables", "output"), SPECS)
def test_a_layer_says_what_it_owns_and_what_comes_out(
    kind: str, fields: dict[str, Any], specs: list[TensorSpec], variables: dict[str, Shape], output: TensorSpec
) -> None:
    made = layer(kind, fields)
    assert {item.name: item.shape for item in made.declare(specs)} == variables
    assert made.output_spec(specs) == output


@pytest.mark.parametrize(("kind", "fields", "specs"), [row[:3] for row in SPECS])
def test_only_moving_statistics_are_not_trained(kind: str, fields: dict[str, Any], specs: list[TensorSpec]) -> None:
    declared = layer(kind, fields).declare(specs)
    assert [item.name for item in declared if not item.trainable] == [i.name for i in declared if i.name in STATISTICS]


def test_every_kind_is_in_the_table() -> None:
    assert {row[0] for row in SPECS} | {"scope", "block", "constant", "variable"} == set(kinds("layer"))


@pytest.mark.parametrize(
    ("kind", "fields", "specs", "message"),
    [
        ("dense", {"units": 3}, inputs(INTEGERS), "dense needs float32 input, got [batch, 4] int32"),
        (
            "dense",
            {"units": 3},
            inputs(()),
            "dense needs an input whose last dimension is known, got [batch] float32",
        ),
        (
            "dense",
            {"units": 3},
            inputs((3, None)),
            "dense needs an input whose last dimension is known, got [batch, 3, ?] float32",
        ),
        (
            "conv2d",
            {"filters": 1, "kernel_size": 1},
            inputs((4,)),
            "conv2d needs [batch, height, width, channels] float32, got [batch, 4] float32",
        ),
        (
            "max_pool",
            {},
            [TensorSpec((2, 2, 1), "uint8")],
            "max_pool needs [batch, height, width, channels] float32, got [batch, 2, 2, 1] uint8",
        ),
        (
            "average_pool",
            {},
            inputs((2, 2, None)),
            "average_pool needs a known number of channels, got [batch, 2, 2, ?] float32",
        ),
        (
            "conv2d",
            {"filters": 1, "kernel_size": 5, "padding": "valid"},
            inputs((9, 4, 1)),
            "conv2d with padding 'valid' needs a window no larger than its input: 5 > 4",
        ),
        (
            "embedding",
            {"input_dim": 1, "output_dim": 1},
            inputs((4,)),
            "embedding needs int32 or int64 ids, got [batch, 4] float32",
        ),
        (
            "batch_norm",
            {},
            inputs((4, None)),
            "batch_norm needs float32 input whose last dimension is known, got [batch, 4, ?] float32",
        ),
        ("activation", {"function": "relu"}, inputs(INTEGERS), "activation needs float32 input, got [batch, 4] int32"),
        ("dropout", {"rate": 0.5}, inputs(INTEGERS), "dropout needs float32 input, got [batch, 4] int32"),
        (
            "flatten",
            {},
            inputs((None, 2)),
            "flatten needs an input whose sizes are all known, got [batch, ?, 2] float32",
        ),
        (
            "reshape",
            {"shape": (5, -1)},
            inputs((12,)),
            "reshape to [5, -1] does not hold the 12 values of its input [batch, 12] float32",
        ),
        (
            "reshape",
            {"shape": (-1, -1)},
            inputs((12,)),
            "reshape to [-1, -1] does not hold the 12 values of its input [batch, 12] float32",
        ),
        (
            "reshape",
            {"shape": (0, -1)},
            inputs((12,)),
            "reshape to [0, -1] does not hold the 12 values of its input [batch, 12] float32",
        ),
        (
            "reshape",
            {"shape": (5,)},
            inputs((12,)),
            "reshape to [5] does not hold the 12 values of its input [batch, 12] float32",
        ),
        (
            "concat",
            {},
            inputs((2, 3), (3, 3)),
            "concat along axis 2 needs the other sizes equal, got [batch, 2, 3] float32 and [batch, 3, 3] float32",
        ),
        (
            "concat",
            {},
            inputs((3,), (2, 3)),
            "concat along axis 1 needs the other sizes equal, got [batch, 3] float32 and [batch, 2, 3] float32",
        ),
        ("concat", {"axis": 0}, inputs((2,), (2,)), "concat along axis 0: inputs of rank 2 have axes 1 to 1 to join"),
        ("concat", {"axis": 2}, inputs((2,), (2,)), "concat along axis 2: inputs of rank 2 have axes 1 to 1 to join"),
        ("concat", {"axis": -3}, inputs((2,), (2,)), "concat along axis -3: inputs of rank 2 have axes 1 to 1 to join"),
        (
            "concat",
            {},
            inputs((4,), INTEGERS),
            "concat needs inputs of one dtype, got [batch, 4] float32 and [batch, 4] int32",
        ),
        (
            "add",
            {},
            inputs((4,), (3,)),
            "add needs inputs of one shape, got [batch, 4] float32 and [batch, 3] float32",
        ),
        (
            "multiply",
            {},
            inputs((4,), INTEGERS),
            "multiply needs inputs of one dtype, got [batch, 4] float32 and [batch, 4] int32",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_rule(
    kind: str, fields: dict[str, Any], specs: list[TensorSpec], message: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        layer(kind, fields).output_spec(specs)
    assert str(caught.value) == message


def test_a_scope_has_no_tensor_of_its_own() -> None:
    scope = Scope(layers={"a": layer("flatten", {})})
    with pytest.raises(AssertionError, match="a scope has no tensor of its own"):
        scope.output_spec(inputs((4,)))


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("window", range(1, 4))
@pytest.mark.parametrize("stride", range(1, 4))
def test_a_valid_window_stands_at_every_stride_where_it_fits(size: int, window: int, stride: int) -> None:
    places = [start for start in range(0, size, stride) if start + window <= size]
    if window <= size:
        assert window_output(size, window, stride, "valid", "conv2d") == len(places)
    assert window_output(size, window, stride, "same", "conv2d") == len(range(0, size, stride))
    assert window_output(None, window, stride, "valid", "conv2d") is None


@pytest.mark.parametrize(
    ("shape", "fan_in_out"),
    [((), (1.0, 1.0)), ((5,), (5.0, 5.0)), ((4, 3), (4.0, 3.0)), ((3, 2, 4, 5), (24.0, 30.0))],
)
def test_fans_count_the_window(shape: tuple[int, ...], fan_in_out: tuple[float, float]) -> None:
    assert fans(shape) == fan_in_out

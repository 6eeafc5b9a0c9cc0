"""Over all kinds of layers: what they own, what comes out, what they refuse; one line a case in ``layer_tables``."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from expkit.kinds.initializers import fans
from expkit.kinds.layers.base import Layer
from expkit.kinds.layers.scope import Scope
from expkit.kinds.layers.windows import window_output
from expkit.registry import kinds
from expkit.tensor_spec import ShapeError
from support.layer_tables import Refused, Spec, basic, functions, norms, sequences, shapes, specs, windows

STATISTICS = ("moving_mean", "moving_variance")
FAMILIES = (basic, functions, windows, norms, shapes, sequences)
SPECS = [row for family in FAMILIES for row in family.SPECS]
REFUSED = [row for family in FAMILIES for row in family.REFUSED]


def layer(kind: str, fields: dict[str, Any]) -> Layer:
    built = kinds("layer")[kind](**fields)
    assert isinstance(built, Layer)
    return built


@pytest.mark.parametrize("row", SPECS, ids=lambda row: row[0])
def test_a_layer_declares_its_variables_and_output(row: Spec) -> None:
    kind, fields, given, variables, output = row
    built = layer(kind, fields)
    assert {item.name: item.shape for item in built.declare(given)} == variables
    assert {item.dtype for item in built.declare(given)} <= {given[0].dtype, "float32"}
    assert built.output_spec(given) == output


@pytest.mark.parametrize("row", SPECS, ids=lambda row: row[0])
def test_only_moving_statistics_are_not_trained(row: Spec) -> None:
    declared = layer(row[0], row[1]).declare(row[2])
    assert [item.name for item in declared if not item.trainable] == [i.name for i in declared if i.name in STATISTICS]


def test_every_kind_is_in_the_table() -> None:
    assert {row[0] for row in SPECS} | {
        "scope",
        "block",
        "scan",
        "decode",
        "ema_of",
        "constant",
        "random",
        "variable",
    } == set(kinds("layer"))


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row[0])
def test_inputs_that_do_not_fit_are_refused_with_the_rule(row: Refused) -> None:
    kind, fields, given, message = row
    with pytest.raises(ShapeError) as caught:
        layer(kind, fields).output_spec(given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (
            "depthwise_conv2d",
            {"kernel_size": 3, "strides": 2, "dilation_rate": (1, 2)},
            "strides and dilation_rate cannot both be larger than 1; leave one of them out",
        ),
        (
            "activation",
            {"function": "relu", "alpha": 0.1},
            "alpha is the slope of leaky_relu, but function is 'relu'; leave alpha out",
        ),
        (
            "pad",
            {"paddings": ((1, 1),), "mode": "reflect", "value": 1.0},
            "mode 'reflect' does not use value; leave it out, or set mode: constant",
        ),
        ("clip", {}, "clip needs 'minimum', 'maximum' or both"),
        ("clip", {"minimum": 1, "maximum": -1}, "minimum 1 is above maximum -1; exchange them"),
        ("resize", {}, "resize needs exactly one of 'size' (height and width) and 'scale' (factors)"),
        (
            "resize",
            {"size": 3, "scale": 2},
            "resize needs exactly one of 'size' (height and width) and 'scale' (factors)",
        ),
        (
            "resize",
            {"size": 3, "align_corners": True, "half_pixel_centers": True},
            "align_corners and half_pixel_centers exclude each other; leave one of them out",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(kind: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        layer(kind, fields)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_cell_refuses_the_activation_that_doubles_its_state(kind: str) -> None:
    with pytest.raises(ValidationError) as caught:
        layer(kind, {"units": 2, "activation": "crelu"})
    (error,) = caught.value.errors()
    assert error["loc"] == ("activation",)
    assert error["msg"].startswith("Input should be 'linear', 'relu', 'relu6', 'leaky_relu',")


def test_a_scope_has_no_tensor_of_its_own() -> None:
    scope = Scope(layers={"a": layer("flatten", {})})
    with pytest.raises(AssertionError, match="a scope has no tensor of its own"):
        scope.output_spec(specs((4,)))


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

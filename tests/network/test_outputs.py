"""Layers with several outputs, and layers that read further tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.sections.network import InputConfig, NetworkConfig
from expkit.errors import ConfigError
from expkit.kinds.initializers import Ones
from expkit.kinds.layers.base import Call, Declaration, Inputs, Layer
from expkit.kinds.layers.dense import Dense
from expkit.kinds.layers.reshaping import Flatten
from expkit.kinds.layers.scope import Scope
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.elaborate import network_spec
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import ShapeError, TensorSpec


class Halves(Layer):
    """The input, and each half of it by name; without ``whole``, the halves alone."""

    kind: Literal["halves"] = "halves"
    whole: bool = True

    def output_spec(self, inputs: Inputs[TensorSpec]) -> Mapping[str, TensorSpec]:
        """Return both halves."""
        half = TensorSpec((int(inputs[0].shape[0] or 0) // 2,))
        return {**({"": inputs[0]} if self.whole else {}), "left": half, "right": half}

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Cut."""
        left, right = tf.split(inputs[0], 2, axis=1)
        return {**({"": inputs[0]} if self.whole else {}), "left": left, "right": right}


class Masked(Layer):
    """The input times a factor, times the mask where one is given."""

    kind: Literal["masked"] = "masked"
    reads: ClassVar[tuple[str, ...]] = ("mask", "lengths")
    mask: str | None = None
    lengths: str | None = None

    def declare(self, inputs: Inputs[TensorSpec]) -> tuple[Declaration, ...]:
        """Return ``factor``, of the mask's shape."""
        shape = inputs.named["mask"].shape if "mask" in inputs.named else ()
        return (Declaration("factor", tuple(int(size or 0) for size in shape), Ones()),)

    def output_spec(self, inputs: Inputs[TensorSpec]) -> TensorSpec:
        """Return the input's shape."""
        if "mask" in inputs.named and inputs.named["mask"] != inputs[0]:
            raise ShapeError("masked needs a mask like its input")
        return inputs[0]

    def apply(self, variables: Mapping[str, Any], inputs: Inputs[Any], call: Call) -> Any:
        """Multiply."""
        result = inputs[0] * variables["factor"]
        return result * inputs.named["mask"] if "mask" in inputs.named else result


def network(layers: dict[str, Layer], outputs: dict[str, str], **inputs: int) -> NetworkConfig:
    """Return a network of layers whose kinds are not registered."""
    sizes = {name: InputConfig(shape=(size,)) for name, size in (inputs or {"x": 4}).items()}
    return NetworkConfig.model_construct(inputs=sizes, layers=layers, outputs=outputs)


def scope(layers: dict[str, Layer], **fields: Any) -> Scope:
    return Scope.model_construct(layers=layers, **fields)


def problems_of(config: NetworkConfig) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        network_spec(config)
    return [str(problem) for problem in caught.value.problems]


def reads(spec: NetworkSpec) -> dict[str, str]:
    return {layer.path: " ".join([*layer.inputs, *map("=".join, layer.named.items())]) for layer in spec.layers}


def test_an_output_is_read_by_its_layer_and_name_from_inside_and_outside_of_scopes() -> None:
    layers: dict[str, Layer] = {
        "cut": Halves(),
        "after": Flatten(),
        "s": scope({"cut": Halves(whole=False), "own": Flatten(input="cut/left"), "d": Flatten(input="cut/right")}),
        "outer": Flatten(input="s/cut/right"),
        "t": scope({"up": Flatten(input="cut/left"), "deep": Flatten(input="s/cut/left")}),
    }
    spec = network_spec(network(layers, {"out": "cut/left", "whole": "cut", "inner": "s/cut/right"}))
    assert reads(spec) == {
        "cut": "x",
        "after": "cut",
        "s/cut": "after",
        "s/own": "s/cut/left",
        "s/d": "s/cut/right",
        "outer": "s/cut/right",
        "t/up": "cut/left",
        "t/deep": "s/cut/left",
    }
    assert spec.outputs == {"out": "cut/left", "whole": "cut", "inner": "s/cut/right"}
    assert spec.output_spec("inner").shape == (2,)


def test_a_scope_may_end_in_one_output_of_a_layer() -> None:
    layers: dict[str, Layer] = {"s": scope({"cut": Halves(whole=False)}, output="cut/right"), "d": Flatten()}
    assert reads(network_spec(network(layers, {"out": "s"}))) == {"s/cut": "x", "d": "s/cut/right"}


def test_named_tensors_are_found_as_inputs_are_and_come_first() -> None:
    layers: dict[str, Layer] = {
        "a": Masked(input="x", mask="late", lengths="x"),
        "late": Flatten(input="x"),
        "s": scope({"late": Flatten(input="x"), "b": Masked(input="x", mask="late"), "c": Masked(mask="s/b")}),
    }
    spec = network_spec(network(layers, {"out": "s"}))
    assert [layer.path for layer in spec.layers] == ["late", "a", "s/late", "s/b", "s/c"]
    assert reads(spec)["a"] == "x mask=late lengths=x"
    assert reads(spec)["s/b"] == "x mask=s/late"
    assert spec.variables["a/factor"].shape == (4,)


def test_outputs_are_tensors_of_their_own_name_with_the_right_values() -> None:
    layers: dict[str, Layer] = {
        "cut": Halves(whole=False),
        "m": Masked(input="cut/left", mask="cut/right"),
        "plain": Masked(input="cut/right"),
    }
    spec = network_spec(network(layers, {"product": "m", "half": "cut/right"}))
    with tf.Graph().as_default() as graph, tf.Session() as session:
        with tf.name_scope("raw"):
            outputs = connect(spec, create_variables(spec, 0), placeholders(spec)).outputs
        session.run(tf.global_variables_initializer())
        fed = {"raw/x:0": np.array([[1, 2, 3, 4]], np.float32)}
        assert outputs["half"].name == "raw/half:0"
        assert graph.get_tensor_by_name("raw/cut/left:0").shape.as_list() == [None, 2]
        got = session.run([outputs["product"], "raw/cut/left:0", "raw/half:0", "raw/plain:0"], fed)
    np.testing.assert_array_equal(got, [[[3, 8]], [[1, 2]], [[3, 4]], [[3, 4]]])


@pytest.mark.parametrize(
    ("layers", "outputs", "problems"),
    [
        pytest.param(
            {"cut": Halves(whole=False), "d": Flatten()},
            {"out": "cut", "d": "d"},
            [
                "network.layers.d.input: layer 'cut' has several outputs and none of its own name; "
                "name one: cut/left, cut/right",
                "network.outputs.out: layer 'cut' has several outputs and none of its own name; "
                "name one: cut/left, cut/right",
            ],
            id="the bare name of a layer that has none",
        ),
        pytest.param(
            {"cut": Halves(), "d": Flatten(input="cut/lfet"), "e": Flatten(input="d/out")},
            {"out": "cut/middle"},
            [
                "network.layers.d.input: layer 'cut' has no output 'lfet'; did you mean 'left'? "
                "allowed: cut, cut/left, cut/right",
                "network.outputs.out: layer 'cut' has no output 'middle'; allowed: cut, cut/left, cut/right",
            ],
            id="an output that is not there, told once, not for what reads the reader",
        ),
        pytest.param(
            {"d": Flatten(), "e": Flatten(input="d/out")},
            {"out": "d"},
            ["network.layers.e.input: layer 'd' has no output 'out'; allowed: d"],
            id="an output of a layer that has one",
        ),
        pytest.param(
            {"mask": Flatten(), "m": Masked(mask="maks", lengths="zzzz")},
            {"out": "m"},
            [
                "network.layers.m.mask: no layer or input 'maks'; did you mean 'mask'? allowed: x, mask, m",
                "network.layers.m.lengths: no layer or input 'zzzz'; allowed: x, mask, m",
            ],
            id="a named tensor that is not there",
        ),
        pytest.param(
            {"m": Masked(input="x", mask="d"), "d": Flatten(input="m")},
            {"out": "d"},
            ["network.layers.m.mask: these layers read each other in a cycle: m <- d <- m"],
            id="a cycle through a named tensor",
        ),
        pytest.param(
            {"s": scope({"m": Masked(input="x", mask="s/m")})},
            {"out": "s"},
            ["network.layers.s.layers.m.mask: these layers read each other in a cycle: s/m <- s/m"],
            id="a layer that reads itself by name",
        ),
        pytest.param(
            {"d": Dense(units=2), "m": Masked(input="x", mask="d")},
            {"out": "m"},
            [
                "network.layers.m: masked needs a mask like its input; "
                "'m' reads 'x' [batch, 4] float32, mask 'd' [batch, 2] float32"
            ],
            id="a shape that does not fit names what is read by name",
        ),
        pytest.param(
            {"cut": Halves(), "d": Dense(units=1, scope="cut", variables={"kernel": "left"})},
            {"out": "d"},
            ["network.layers.cut: the layer's output tensor and a variable would both be named 'cut/left'; rename one"],
            id="an output named like a variable",
        ),
    ],
)
def test_mistakes_with_outputs_and_named_tensors_are_reported(
    layers: dict[str, Layer], outputs: dict[str, str], problems: list[str]
) -> None:
    assert problems_of(network(layers, outputs)) == problems

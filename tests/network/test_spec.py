"""The network as a value: order, shapes, arity, clashes of names."""

from __future__ import annotations

import pytest

from expkit.config.load import load
from expkit.network.elaborate import network_spec
from expkit.tensor_spec import TensorSpec
from support.networks import problems_of, spec_of


def test_layers_come_after_what_they_read_and_otherwise_as_written() -> None:
    spec = spec_of("""
        layers:
          sum: {kind: add, input: [late, early]}
          early: {kind: dense, input: x, units: 4}
          between: {kind: dense, input: x, units: 4}
          late: {kind: dense, input: between, units: 4}
        outputs: {out: sum}
    """)
    assert [layer.path for layer in spec.layers] == ["early", "between", "late", "sum"]
    assert list(spec.variables)[::2] == ["early/kernel", "between/kernel", "late/kernel"]


def test_variables_are_shared_in_the_order_in_which_layers_are_made() -> None:
    spec = spec_of("""
        layers:
          second: {kind: dense, input: first, scope: s, units: 4, reuse: true}
          first: {kind: dense, input: x, scope: s, units: 4}
    """)
    assert spec.variables["s/kernel"].layers == ("first", "second")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(
            "layers: {a: {kind: flatten, input: c}, b: {kind: flatten}, c: {kind: flatten}, d: {kind: flatten}}",
            ["network.layers.a.input: these layers read each other in a cycle: a <- c <- b <- a"],
            id="a cycle, told without the layers behind it",
        ),
        pytest.param(
            "layers: {before: {kind: flatten, input: a}, a: {kind: flatten, input: a}}",
            ["network.layers.a.input: these layers read each other in a cycle: a <- a"],
            id="a layer that reads itself",
        ),
        pytest.param(
            "layers: {s: {kind: scope, layers: {a: {kind: flatten, input: s}}}}",
            ["network.layers.s.layers.a.input: these layers read each other in a cycle: s/a <- s/a"],
            id="a layer that reads its own scope",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 3}, b: {kind: dense, units: 2, input: x}, c: {kind: add, input: [a, b]}}",
            [
                "network.layers.c: add needs inputs of one shape, or of size 1 where they differ, got [batch, 3] "
                "float32 and [batch, 2] float32; 'c' reads 'a' [batch, 3] float32, 'b' [batch, 2] float32"
            ],
            id="shapes that do not fit name both layers and both shapes",
        ),
        pytest.param(
            "layers: {a: {kind: conv2d, filters: 1, kernel_size: 1}, b: {kind: flatten}}",
            [
                "network.layers.a: conv2d needs [batch, height, width, channels] of floats up to 32 bits, "
                "got [batch, 4] float32; "
                "'a' reads 'x' [batch, 4] float32"
            ],
            id="a shape is told once, not for every layer behind it",
        ),
        pytest.param(
            "layers: {a: {kind: gather, input: [x, x, x]}}",
            ["network.layers.a.input: kind 'gather' needs 1 to 2 inputs, got 3 (x, x, x)"],
            id="too many inputs",
        ),
        pytest.param(
            "layers: {a: {kind: add}}",
            ["network.layers.a.input: kind 'add' needs 2 inputs or more, got 1 (x)"],
            id="too few inputs",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1, input: [x, x]}}",
            ["network.layers.a.input: kind 'dense' needs 1 input, got 2 (x, x)"],
            id="too many inputs",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1, input: []}}",
            ["network.layers.a.input: kind 'dense' needs 1 input, got 0 (none)"],
            id="no inputs",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1}, b: {kind: flatten, input: y}, c: {kind: add, input: x}}",
            [
                "network.layers.b.input: no layer or input 'y'; allowed: x, a, b, c",
                "network.layers.c.input: kind 'add' needs 2 inputs or more, got 1 (x)",
            ],
            id="two mistakes at once",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1, scope: '', variables: {kernel: a}}}",
            ["network.layers.a: the layer's output tensor and a variable would both be named 'a'; rename one"],
            id="a layer named like a variable",
        ),
        pytest.param(
            "layers: {a: {kind: dense, units: 1, scope: '', variables: {kernel: x}}}",
            ["network.inputs.x: the input and a variable would both be named 'x'; rename one"],
            id="an input named like a variable",
        ),
        pytest.param(
            "{layers: {a: {kind: dense, units: 1, scope: ''}, b: {kind: flatten}}, "
            "outputs: {a: b, x: b, kernel: b, b: b}}",
            [
                f"network.outputs.{name}: '{name}' already names an input, a layer or a variable; rename the output"
                for name in ("a", "x", "kernel")
            ],
            id="outputs named like something else",
        ),
    ],
)
def test_every_mistake_in_the_graph_is_reported_with_its_path(text: str, problems: list[str]) -> None:
    assert problems_of(text) == problems


@pytest.mark.parametrize(
    ("experiment", "variables", "outputs"),
    [
        ("digits_mlp", "layer1/kernel layer1/bias logits/kernel logits/bias", {"logits": (10,)}),
        ("mnist_mlp", "layer1/weights layer1/biases layer2/weights layer2/biases", {"logits": (10,)}),
        (
            "siamese",
            "tower/conv/kernel tower/conv/bias tower/code/kernel tower/code/bias "
            "joined/kernel joined/bias logits/kernel logits/bias",
            {"logits": (2,)},
        ),
        (
            "digits_cnn",
            "features/conv1/kernel features/norm1/gamma features/norm1/beta features/norm1/moving_mean "
            "features/norm1/moving_variance features/conv2/kernel features/norm2/gamma features/norm2/beta "
            "features/norm2/moving_mean features/norm2/moving_variance logits/kernel logits/bias",
            {"logits": (10,)},
        ),
    ],
)
@pytest.mark.usefixtures("empty_folder")
def test_names_of_the_experiments_variables_are_a_promise(
    experiment: str, variables: str, outputs: dict[str, tuple[int, ...]]
) -> None:
    spec = network_spec(load([f"experiment={experiment}"]).network)
    assert " ".join(spec.variables) == variables
    assert {name: spec.output_spec(name).shape for name in spec.outputs} == outputs


def test_a_tensor_is_shown_with_its_batch_and_its_unknown_sizes() -> None:
    assert str(TensorSpec((None, 3), "int32")) == "[batch, ?, 3] int32"

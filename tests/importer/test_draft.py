"""Drafts of networks from names and shapes: every draft composes, and has the variables of its source."""

from __future__ import annotations

import pytest
import yaml

from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.importer.contents import Contents, Use, group_by_ownership, in_reading_order
from expkit.importer.text import write_yaml
from expkit.network.elaborate import network_spec
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import TensorSpec
from support.networks import spec_of
from support.random_networks import random_networks

NETWORKS = sorted(file.stem for file in (builtin_conf() / "network").glob("*.yaml"))
EXAMPLES = 100


def held(spec: NetworkSpec) -> dict[str, TensorSpec]:
    return {name: spec.variables[name].spec for name in in_reading_order(list(spec.variables))}


def drafted(variables: dict[str, TensorSpec], **contents: object) -> str:
    return write_yaml(Contents(variables=variables, **contents), "model.ckpt")


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def assert_same_variables(variables: dict[str, TensorSpec]) -> NetworkSpec:
    again = spec_of(drafted(variables))
    assert {name: item.spec for name, item in again.variables.items()} == variables
    return again


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("empty_folder")
def test_the_draft_of_every_network_file_has_its_variables(name: str) -> None:
    again = assert_same_variables(held(network_spec(load(["~experiment", f"network={name}"]).network)))
    known = [layer for layer in again.layers if layer.layer.kind != "variable"]
    assert len(known) >= len(again.layers) // 2, "most layers are to be more than lone variables"


def test_the_drafts_of_random_networks_have_their_variables() -> None:
    count = 0
    for _, raw in random_networks(EXAMPLES):
        if variables := held(spec_of(raw)):
            assert_same_variables(variables)
            count += 1
    assert count > EXAMPLES // 2


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"conv1/weights": (3, 5, 3, 8), "conv1/biases": (8,)},
            "conv1: {kind: conv2d, input: into_conv1, filters: 8, kernel_size: [3, 5]}"
            "  # fill in: strides, padding, activation",
        ),
        (
            {"up/kernel": (2, 2, 4, 8), "up/bias": (8,), "deconv/kernel": (2, 2, 4, 8), "deconv/bias": (4,)},
            "deconv: {kind: conv2d_transpose, filters: 4, kernel_size: 2}  # fill in: strides, padding, activation",
        ),
        (
            {"dw/depthwise_weights": (3, 3, 8, 2)},
            "dw: {kind: depthwise_conv2d, input: into_dw, kernel_size: 3, depth_multiplier: 2, use_bias: false}"
            "  # fill in: strides, padding, activation",
        ),
        (
            {"norm/beta": (8,), "norm/moving_mean": (8,), "norm/moving_variance": (8,)},
            "norm: {kind: batch_norm, input: into_norm, scale: false}  # fill in: epsilon, momentum",
        ),
        (
            {"rnn/basic_lstm_cell/kernel": (9, 20), "rnn/basic_lstm_cell/bias": (20,)},
            "basic_lstm_cell: {kind: lstm, input: into_rnn_basic_lstm_cell, units: 5, return_sequences: true}  "
            "# fill in: forget_bias, direction, lengths",
        ),
        (
            {
                "gru_cell/gates/kernel": (9, 10),
                "gru_cell/gates/bias": (10,),
                "gru_cell/candidate/kernel": (9, 5),
                "gru_cell/candidate/bias": (5,),
            },
            "gru_cell: {kind: gru, input: into_gru_cell, units: 5, return_sequences: true}"
            "  # fill in: direction, lengths",
        ),
        (
            {
                f"self/{part}/{end}": shape
                for part in ("query", "key", "value")
                for end, shape in (("kernel", (128, 128)), ("bias", (128,)))
            },
            "self: {kind: attention, input: into_self, num_heads: 2}  # fill in: num_heads, mask",
        ),
        (
            {"embeddings/word_embeddings": (100, 8)},
            "embeddings: {kind: embedding, input: into_embeddings, input_dim: 100, output_dim: 8, "
            "variables: {embeddings: word_embeddings}}",
        ),
        (
            {"strange": (2, 3, 4, 5, 6, 7)},
            'strange_1: {kind: variable, scope: "", shape: [2, 3, 4, 5, 6, 7], variables: {value: strange}, '
            "batch_of: x}",
        ),
    ],
    ids=lambda item: None if isinstance(item, str) else next(iter(item)),
)
def test_kinds_are_guessed_from_names_and_shapes(variables: dict[str, tuple[int, ...]], line: str) -> None:
    stored = {name: TensorSpec.of_variable(shape) for name, shape in variables.items()}
    assert_same_variables(stored)
    assert line in lines(drafted(stored))


def test_layers_are_chained_where_shapes_fit_and_get_inputs_to_fill_in_elsewhere() -> None:
    text = drafted(
        {
            "a/kernel": TensorSpec.of_variable((4, 5)),
            "a/bias": TensorSpec.of_variable((5,)),
            "b/kernel": TensorSpec.of_variable((5, 6)),
            "b/bias": TensorSpec.of_variable((6,)),
            "c/kernel": TensorSpec.of_variable((9, 2)),
            "c/bias": TensorSpec.of_variable((2,)),
        }
    )
    content = yaml.safe_load(text)
    assert content["inputs"] == {"into_a": {"shape": [4]}, "into_c": {"shape": [9]}}
    assert [layer.get("input") for layer in content["layers"].values()] == ["into_a", None, "into_c"]
    assert "into_c: {shape: [9]}  # fill in: the input of c" in lines(text)
    assert "out: c  # fill in: all outputs" in lines(text)


def test_variables_of_the_training_are_listed_and_left_out() -> None:
    own = {"fc/weights": TensorSpec.of_variable((4, 2)), "fc/biases": TensorSpec.of_variable((2,))}
    kept = {
        "fc/weights/Adam": TensorSpec.of_variable((4, 2)),
        "fc/weights/Adam_1": TensorSpec.of_variable((4, 2)),
        "train/fc/biases/Momentum": TensorSpec.of_variable((2,)),
        "fc/weights/ExponentialMovingAverage": TensorSpec.of_variable((4, 2)),
        "global_step": TensorSpec.of_variable((), "int64"),
        "train/beta1_power": TensorSpec.of_variable(()),
        "other/Adam": TensorSpec.of_variable((7,)),
    }
    owned = group_by_ownership({**own, **kept})
    assert owned.variables == {**own, "other/Adam": TensorSpec.of_variable((7,))}, "what is beside no variable is one"
    assert (owned.slots, owned.emas) == ({"Adam": 1, "Adam_1": 1, "Momentum": 1}, 1)
    told = lines(drafted({**own, **kept}))
    assert (
        "# Left out, because training creates them: optimizer slots VARIABLE/Adam of 1, VARIABLE/Adam_1 of 1, "
        "VARIABLE/Momentum of 1" in told
    )
    assert "# Left out, because training creates them: EMA VARIABLE/ExponentialMovingAverage of 1" in told
    assert "# Left out, because training creates them: global_step, train/beta1_power" in told
    assert "variables: {kernel: weights, bias: biases}" in told


def test_variables_that_cannot_be_declared_are_listed() -> None:
    text = drafted(
        {
            "a/kernel": TensorSpec.of_variable((4, 5)),
            "while/_x>y": TensorSpec.of_variable((5,)),
            "a/open": TensorSpec.of_variable((-1, 4)),
            "b\n\x01": TensorSpec.of_variable((2,)),
        }
    )
    assert "# Left out, because expkit rejects their names or sizes: while/_x>y, a/open, b??" in lines(text)
    assert list(spec_of(text).variables) == ["a/kernel"]


def test_fields_that_operations_determine_are_not_left_to_fill_in() -> None:
    text = drafted(
        {"conv/kernel": TensorSpec.of_variable((3, 3, 1, 8)), "conv/bias": TensorSpec.of_variable((8,))},
        uses={"conv/kernel": Use("conv2d", {"strides": 2, "padding": "valid", "activation": "relu"})},
        inputs={"image": TensorSpec((28, 28, 1))},
        outputs=("conv/Relu",),
        has_operations=True,
    )
    assert (
        "conv: {kind: conv2d, input: image, filters: 8, kernel_size: 3, strides: 2, padding: valid, activation: relu}"
        in lines(text)
    )
    assert "# The graph's inputs: image [batch, 28, 28, 1] float32" in lines(text)
    assert "# The graph's outputs: conv/Relu" in lines(text)
    assert spec_of(text).tensors["conv"].shape == (13, 13, 8)

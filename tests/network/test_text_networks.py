"""The networks of words and codes in conf/network: published names and counts, and what other programs compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.elaborate import network_spec
from expkit.network.spec import NetworkSpec
from support.bert_by_hand import Sizes, bert, heads

pytestmark = [pytest.mark.untraced, pytest.mark.usefixtures("empty_folder")]
GOLDEN = Path(__file__).parents[1] / "golden" / "variables"

PUBLISHED = {
    "bert": (199, 109_482_240),
    "bert_mlm": (206, 109_482_240 + 622_650 + 1_538),
    "ptb_lstm": (7, 4_651_600),
    "autoencoder": (12, 1_420_814),
    "multi_head": (10, 21_418),
}
"""How many variables and parameters the head of each file names."""
BERT_LARGE = {"layers": 24, "hidden_size": 1024, "heads": 16, "intermediate_size": 4096}
SMALL = {
    "layers": 2,
    "hidden_size": 32,
    "heads": 4,
    "intermediate_size": 48,
    "vocabulary_size": 50,
    "max_positions": 16,
    "length": "null",
}
SMALL_SIZES = Sizes(2, 32, 4, 48, 50, 16)

IDS = np.array([[7, 3, 49, 0, 12, 5], [1, 1, 2, 30, 0, 0], [9, 0, 0, 0, 0, 0]], np.int32)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]], np.int32)
TYPES = np.array([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]], np.int32)
PLACES = np.array([[1, 4], [3, 0], [0, 0]], np.int32)
FEED = {"input_ids": IDS, "input_mask": MASK, "token_type_ids": TYPES}

Values = dict[str, np.ndarray]


def network(name: str, settings: Mapping[str, Any] | None = None, *overrides: str) -> NetworkSpec:
    changed = [f"network.settings.{key}={value}" for key, value in (settings or {}).items()]
    return network_spec(load(["~experiment", f"network={name}", *changed, *overrides]).network)


def drawn(spec: NetworkSpec) -> Values:
    """Return another random value for every number of every variable."""
    draw = np.random.default_rng(4)
    return {
        name: (draw.normal(scale=0.3, size=item.shape) + name.endswith("gamma")).astype(np.float32)
        for name, item in spec.variables.items()
    }


def computed(make: Callable[[Mapping[str, Any]], Any], feed: Mapping[str, np.ndarray], values: Values) -> Any:
    """Return what a graph computes of placeholders with these variables, which must be all it has."""
    with tf.Graph().as_default() as graph:
        inputs = {name: tf.placeholder(array.dtype, [None, *[None] * (array.ndim - 1)]) for name, array in feed.items()}
        outputs = make(inputs)
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        assert sorted(variables) == sorted(values)
        with tf.plain_session(graph) as session:
            for name, variable in variables.items():
                variable.load(values[name], session)
            return session.run(outputs, {inputs[name]: array for name, array in feed.items()})


def of_expkit(spec: NetworkSpec) -> Callable[[Mapping[str, Any]], Any]:
    return lambda inputs: dict(connect(spec, create_variables(spec, 0), inputs).outputs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_those_the_file_names(name: str) -> None:
    variables = network(name).variables
    assert (len(variables), sum(item.size for item in variables.values())) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["bert", "bert_mlm", "ptb_lstm"])
def test_names_and_shapes_are_those_promised(name: str) -> None:
    lines = sorted(f"{variable} {list(item.shape)}" for variable, item in network(name).variables.items())
    assert "\n".join(lines) + "\n" == (GOLDEN / f"{name}.txt").read_text()


def test_four_settings_make_bert_large() -> None:
    variables = network("bert", BERT_LARGE).variables
    assert (len(variables), sum(item.size for item in variables.values())) == (391, 335_141_888)


def test_bert_computes_what_a_program_on_tf_nn_computes() -> None:
    spec = network("bert", SMALL)
    values = drawn(spec)

    def by_hand(inputs: Mapping[str, Any]) -> Any:
        return dict(zip(("sequence", "pooled"), bert(*inputs.values(), SMALL_SIZES), strict=True))

    expected, got = computed(by_hand, FEED, values), computed(of_expkit(spec), FEED, values)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-5)
    shifted = {**FEED, "input_ids": np.where(MASK == 1, IDS, 33).astype(np.int32)}
    padded = computed(of_expkit(spec), shifted, values)
    np.testing.assert_array_equal(padded["pooled"], got["pooled"], "words under the mask must not be seen")
    unmasked = computed(of_expkit(spec), {**FEED, "input_mask": np.ones_like(MASK)}, values)
    assert np.abs(unmasked["pooled"] - got["pooled"]).max() > 0.01


def test_berts_heads_compute_what_a_program_on_tf_nn_computes() -> None:
    spec = network("bert_mlm", {**SMALL, "length": 6})
    values, feed = drawn(spec), {**FEED, "masked_lm_positions": PLACES}

    def by_hand(inputs: Mapping[str, Any]) -> Any:
        ids, mask, types, places = inputs.values()
        sequence, pooled = bert(ids, mask, types, SMALL_SIZES)
        return dict(zip(("logits", "next_sentence"), heads(sequence, pooled, places, SMALL_SIZES), strict=True))

    expected, got = computed(by_hand, feed, values), computed(of_expkit(spec), feed, values)
    assert got["logits"].shape == (3, 2, 50)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=1e-5)


def test_the_word_model_computes_what_its_formulas_say() -> None:
    spec = network("ptb_lstm", {"hidden_size": 6, "vocabulary_size": 50})
    values = drawn(spec)
    got = computed(of_expkit(spec), {"words": IDS}, values)["logits"]
    x = values["Model/embedding"][IDS].astype(np.float64)
    for index in range(2):
        cell = f"Model/RNN/multi_rnn_cell/cell_{index}/basic_lstm_cell"
        h, c, outputs = np.zeros((3, 6)), np.zeros((3, 6)), []
        for step in range(IDS.shape[1]):
            gates = np.concatenate([x[:, step], h], axis=1) @ values[f"{cell}/kernel"] + values[f"{cell}/bias"]
            i, j, f, o = np.split(gates, 4, axis=1)
            c = c / (1 + np.exp(-f)) + np.tanh(j) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            outputs.append(h)
        x = np.stack(outputs, axis=1)
    np.testing.assert_allclose(got, x @ values["Model/softmax_w"] + values["Model/softmax_b"], rtol=0, atol=1e-5)


def test_the_cell_of_block_mode_has_its_own_names() -> None:
    variables = network("ptb_lstm", {"cell": "lstm_cell", "hidden_size": 1500}).variables
    assert variables["Model/RNN/multi_rnn_cell/cell_1/lstm_cell/kernel"].shape == (3000, 6000)
    assert sum(item.size for item in variables.values()) == 66_022_000


def test_the_autoencoder_goes_back_by_the_matrices_it_came_by() -> None:
    spec = network("autoencoder", {"pixels": 9, "units1": 7, "units2": 6, "units3": 5, "code": 3})
    values = drawn(spec)
    image = np.random.default_rng(1).normal(size=(4, 9)).astype(np.float32)
    got = computed(of_expkit(spec), {"image": image}, values)

    def passed(x: np.ndarray, way: str, names: list[str], kernels: list[np.ndarray]) -> np.ndarray:
        for name, kernel in zip(names, kernels, strict=True):
            x = x @ kernel + values[f"{way}/{name}/bias"]
            x = x if name == names[-1] else 1 / (1 + np.exp(-x))
        return x

    names = ["layer1", "layer2", "layer3", "code"]
    kernels = [values[f"encoder/{name}/kernel"] for name in names]
    code = passed(image, "encoder", names, kernels)
    again = passed(code, "decoder", ["layer3", "layer2", "layer1", "image"], [kernel.T for kernel in kernels[::-1]])
    np.testing.assert_allclose(got["code"], code, rtol=0, atol=1e-5)
    np.testing.assert_allclose(got["image_again"], again, rtol=0, atol=1e-5)


def test_every_head_has_a_loss_of_its_own_and_both_teach_the_trunk() -> None:
    config = load(["experiment=multi_head"])
    assert {name: loss.output for name, loss in config.train.losses.items()} == {"main": "logits", "pixels": "pixels"}
    spec = network_spec(config.network)
    with tf.Graph().as_default():
        variables = create_variables(spec, 0)
        outputs = connect(spec, variables, placeholders(spec)).outputs
        for output, head in (("logits", "digit/"), ("pixels", "image_again/")):
            reached = {name for name, v in variables.items() if tf.gradients(outputs[output], v)[0] is not None}
            assert reached == {name for name in variables if name.startswith(("trunk/", head))}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.settings.heads=7"], "attention of 7 heads needs a size that is a multiple, got 768"),
        (["network.settings.hiden_size=4"], "network.settings.hiden_size: no configuration file mentions this key"),
        (
            ["network.settings.layers=many"],
            "network.layers.bert.layers.encoder.layers.layer.repeat: needs a whole number",
        ),
    ],
)
def test_a_size_that_does_not_fit_is_reported(overrides: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message.replace("[", r"\[")):
        network("bert", None, *overrides)


def test_the_exact_gelu_is_a_setting() -> None:
    spec = network("bert", {**SMALL, "activation": "gelu"})
    assert {layer.layer.activation for layer in spec.layers if layer.path.endswith("intermediate/dense")} == {"gelu"}
    assert math.isclose(next(layer.layer.rate for layer in spec.layers if layer.layer.kind == "dropout"), 0.1)

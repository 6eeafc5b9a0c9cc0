"""Single variables tied to those of other layers: names, numbers, gradients, mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.network.build import connect, create_variables
from support.networks import problems_of, spec_of

AUTOENCODER = """
layers:
  encoder: {kind: dense, units: 3, activation: tanh}
  decoder: {kind: dense, units: 4, share: {kernel: {variable: encoder/kernel, transpose: true}}}
"""


def test_a_tied_variable_is_not_created_and_is_listed_as_shared() -> None:
    spec = spec_of("""
        inputs: {ids: {shape: [5], dtype: int32}}
        layers:
          embeddings: {kind: embedding, input_dim: 9, output_dim: 2, variables: {embeddings: table}}
          same: {kind: embedding, input: ids, input_dim: 9, output_dim: 2, share: {embeddings: embeddings/table}}
          logits: {kind: dense, input: embeddings, units: 9,
                   share: {kernel: {variable: embeddings/table, transpose: true}}}
    """)
    assert {name: variable.layers for name, variable in spec.variables.items()} == {
        "embeddings/table": ("embeddings", "same", "logits"),
        "logits/bias": ("logits",),
    }
    assert spec.variables["embeddings/table"].shape == (9, 2)
    with tf.Graph().as_default():
        assert list(create_variables(spec, 0)) == ["embeddings/table", "logits/bias"]
        assert [variable.op.name for variable in tf.global_variables()] == ["embeddings/table", "logits/bias"]


def test_a_tied_kernel_computes_and_adds_up_its_gradients_as_numpy_says() -> None:
    spec = spec_of(AUTOENCODER)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(6, 4)).astype(np.float32)
    values = {name: draw.normal(size=item.shape).astype(np.float32) for name, item in spec.variables.items()}
    with tf.Graph().as_default(), tf.Session() as session:
        variables = create_variables(spec, 0)
        out = connect(spec, variables, {"x": tf.constant(x)}).outputs["out"]
        gradient = tf.gradients(tf.reduce_sum(tf.square(out)) / 2, variables["encoder/kernel"])[0]
        session.run([variables[name].assign(value) for name, value in values.items()])
        got_out, got_gradient = session.run([out, gradient])
    kernel = values["encoder/kernel"].astype(np.float64)
    hidden = np.tanh(x @ kernel + values["encoder/bias"])
    expected = hidden @ kernel.T + values["decoder/bias"]
    of_decoder = expected.T @ hidden
    of_encoder = x.T.astype(np.float64) @ ((expected @ kernel) * (1 - hidden**2))
    np.testing.assert_allclose(got_out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got_gradient, of_encoder + of_decoder, rtol=1e-4, atol=1e-4)
    assert min(np.abs(of_encoder).max(), np.abs(of_decoder).max()) > 1, "both must contribute"


def test_a_table_that_is_looked_up_and_multiplied_gets_both_gradients() -> None:
    spec = spec_of("""
        inputs: {ids: {shape: [], dtype: int32}}
        layers:
          table: {kind: embedding, input_dim: 5, output_dim: 2}
          logits: {kind: dense, units: 5, use_bias: false,
                   share: {kernel: {variable: table/embeddings, transpose: true}}}
    """)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = create_variables(spec, 0)
        out = connect(spec, variables, {"ids": tf.constant([1, 3, 3])}).outputs["out"]
        gradient = tf.convert_to_tensor(
            tf.gradients(tf.reduce_sum(tf.square(out)) / 2, variables["table/embeddings"])[0]
        )
        session.run(tf.global_variables_initializer())
        table, got = session.run([variables["table/embeddings"], gradient])
    rows = table[[1, 3, 3]].astype(np.float64)
    logits = rows @ table.T
    expected = logits.T @ rows
    np.add.at(expected, [1, 3, 3], logits @ table)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-8)


def test_inside_repetitions_each_ties_to_its_own_by_index() -> None:
    spec = spec_of("""
        layers:
          s:
            kind: scope
            repeat: 2
            layers:
              up: {kind: dense, units: 6}
              down: {kind: dense, units: 4, use_bias: false,
                     share: {kernel: {variable: "s_{index}/up/kernel", transpose: true}}}
    """)
    assert spec.variables["s_1/up/kernel"].layers == ("s_1/up", "s_1/down")


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        pytest.param(
            "share: {kernel: aa/kernal}",
            [
                "network.layers.b.share.kernel: no earlier layer creates variable 'aa/kernal'; did you mean "
                "'aa/kernel'? "
                "variables: aa/kernel, aa/bias"
            ],
            id="no such variable",
        ),
        pytest.param(
            "share: {kernal: aa/kernel}",
            [
                "network.layers.b.share.kernal: kind 'dense' has no variable 'kernal'; did you mean 'kernel'? "
                "allowed: kernel, bias"
            ],
            id="nothing that the layer owns",
        ),
        pytest.param(
            "share: {kernel: aa/kernel}",
            [
                "network.layers.b.share.kernel: variable 'aa/kernel' is [4, 3] float32, created by layer 'aa'; "
                "'b' needs a kernel of [3, 4] float32"
            ],
            id="another shape",
        ),
        pytest.param(
            "share: {kernel: {variable: aa/kernel, transpose: true}, bias: {variable: aa/bias, transpose: true}}",
            [
                "network.layers.b.share.bias: variable 'aa/bias' of shape [3] has no two dimensions to swap; "
                "leave out transpose",
                "network.layers.b.share.bias: variable 'aa/bias' is transposed [3] float32, created by layer 'aa'; "
                "'b' needs a bias of [4] float32",
            ],
            id="nothing to transpose",
        ),
        pytest.param(
            "share: {kernel: {variable: aa/kernel, transpose: true}}, variables: {kernel: w}, "
            "initializer: {kernel: {kind: zeros}}, regularizer: {kernel: {l2: 0.1}}, trainable: false, "
            "learning_rate_multiplier: 2.0",
            [
                "network.layers.b.variables.kernel: 'kernel' is 'aa/kernel', which another layer names; "
                "leave out one of variables and share",
                "network.layers.b.trainable: variable 'aa/kernel' is created by layer 'aa', which trains it; "
                "set trainable: false there",
                "network.layers.b.initializer.kernel: variable 'aa/kernel' is created by layer 'aa'; "
                "set its initializer there",
                "network.layers.b.regularizer.kernel: variable 'aa/kernel' is created by layer 'aa'; "
                "set its regularizer there",
                "network.layers.b.learning_rate_multiplier: variable 'aa/kernel' is created by layer 'aa' with 1, "
                "not 2; "
                "set it there",
            ],
            id="what only the maker can say",
        ),
    ],
)
def test_what_a_layer_that_ties_a_variable_cannot_ask_for(fields: str, problems: list[str]) -> None:
    text = f"layers: {{aa: {{kind: dense, units: 3}}, b: {{kind: dense, units: 4, {fields}}}}}"
    assert problems_of(text) == problems


def test_a_scope_shares_nothing_itself() -> None:
    text = "layers: {s: {kind: scope, share: {kernel: a}, layers: {d: {kind: dense, units: 1}}}}"
    assert problems_of(text) == [
        "network.layers.s.share: a scope owns no variables; give it to a layer, or to network.rules"
    ]


def test_multipliers_come_from_layers_times_scopes_or_from_rules() -> None:
    spec = spec_of("""
        rules: {b: {variables: .*/bias, learning_rate_multiplier: 2.0}}
        layers:
          s: {kind: scope, learning_rate_multiplier: 0.5, layers: {
               d: {kind: dense, units: 4, learning_rate_multiplier: 0.5}, e: {kind: dense, units: 4}}}
          f: {kind: dense, units: 4, use_bias: false}
          g: {kind: dense, units: 4, scope: s/e, reuse: true, learning_rate_multiplier: 0.5}
    """)
    assert spec.learning_rate_multipliers == {
        "s/d/kernel": 0.25,
        "s/d/bias": 2.0,
        "s/e/kernel": 0.5,
        "s/e/bias": 2.0,
    }

"""The names that TensorFlow 1's own cells and layers give their variables are reached by scope and ``variables``."""

from __future__ import annotations

import pytest

from support.networks import spec_of

SERIES = "inputs: {x: {shape: [6, 4]}}\n"
IMAGES = "inputs: {x: {shape: [8, 8, 3]}}\n"

NETWORKS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "tf.nn.dynamic_rnn of a BasicLSTMCell": (
        SERIES + "layers: {lstm: {kind: lstm, units: 5, scope: rnn/basic_lstm_cell}}",
        {"rnn/basic_lstm_cell/kernel": (9, 20), "rnn/basic_lstm_cell/bias": (20,)},
    ),
    "tf.nn.dynamic_rnn of an LSTMCell with peepholes and projection": (
        SERIES + "layers: {lstm: {kind: lstm, units: 5, scope: rnn/lstm_cell, use_peepholes: true, projection: 3}}",
        {
            "rnn/lstm_cell/kernel": (7, 20),
            "rnn/lstm_cell/bias": (20,),
            "rnn/lstm_cell/w_f_diag": (5,),
            "rnn/lstm_cell/w_i_diag": (5,),
            "rnn/lstm_cell/w_o_diag": (5,),
            "rnn/lstm_cell/projection/kernel": (5, 3),
        },
    ),
    "tf.nn.bidirectional_dynamic_rnn of two LSTMCells": (
        SERIES
        + """
layers:
  lstm:
    kind: lstm
    units: 5
    direction: both
    scope: bidirectional_rnn
    variables:
      fw/kernel: fw/lstm_cell/kernel
      fw/bias: fw/lstm_cell/bias
      bw/kernel: bw/lstm_cell/kernel
      bw/bias: bw/lstm_cell/bias
""",
        {
            "bidirectional_rnn/fw/lstm_cell/kernel": (9, 20),
            "bidirectional_rnn/fw/lstm_cell/bias": (20,),
            "bidirectional_rnn/bw/lstm_cell/kernel": (9, 20),
            "bidirectional_rnn/bw/lstm_cell/bias": (20,),
        },
    ),
    "tf.nn.dynamic_rnn of a GRUCell": (
        SERIES + "layers: {gru: {kind: gru, units: 5, scope: rnn/gru_cell}}",
        {
            "rnn/gru_cell/gates/kernel": (9, 10),
            "rnn/gru_cell/gates/bias": (10,),
            "rnn/gru_cell/candidate/kernel": (9, 5),
            "rnn/gru_cell/candidate/bias": (5,),
        },
    ),
    "CudnnCompatibleGRUCell": (
        SERIES + "layers: {gru: {kind: gru, units: 5, reset_after: true, scope: rnn/cudnn_compatible_gru_cell}}",
        {
            "rnn/cudnn_compatible_gru_cell/gates/kernel": (9, 10),
            "rnn/cudnn_compatible_gru_cell/gates/bias": (10,),
            "rnn/cudnn_compatible_gru_cell/candidate/input_projection/kernel": (4, 5),
            "rnn/cudnn_compatible_gru_cell/candidate/input_projection/bias": (5,),
            "rnn/cudnn_compatible_gru_cell/candidate/hidden_projection/kernel": (5, 5),
            "rnn/cudnn_compatible_gru_cell/candidate/hidden_projection/bias": (5,),
        },
    ),
    "BERT's self-attention with its output": (
        SERIES
        + """
layers:
  attention:
    kind: scope
    layers:
      self: {kind: attention, num_heads: 2, key_dim: 2}
      output:
        kind: scope
        layers:
          dense: {kind: dense, units: 4}
          sum: {kind: add, input: [dense, x]}
          LayerNorm: {kind: layer_norm, epsilon: 1.0e-12}
""",
        {
            "attention/self/query/kernel": (4, 4),
            "attention/self/query/bias": (4,),
            "attention/self/key/kernel": (4, 4),
            "attention/self/key/bias": (4,),
            "attention/self/value/kernel": (4, 4),
            "attention/self/value/bias": (4,),
            "attention/output/dense/kernel": (4, 4),
            "attention/output/dense/bias": (4,),
            "attention/output/LayerNorm/gamma": (4,),
            "attention/output/LayerNorm/beta": (4,),
        },
    ),
    "BERT's embeddings": (
        """
inputs: {input_ids: {shape: [6], dtype: int32}}
layers:
  words: {kind: embedding, input_dim: 9, output_dim: 4, scope: embeddings, variables: {embeddings: word_embeddings}}
  places: {kind: position_embedding, max_length: 8, scope: embeddings, variables: {embeddings: position_embeddings}}
""",
        {"embeddings/word_embeddings": (9, 4), "embeddings/position_embeddings": (8, 4)},
    ),
    "slim's separable convolutions with batch norm": (
        IMAGES
        + """
variables: {depthwise_kernel: depthwise_weights, pointwise_kernel: pointwise_weights, kernel: weights, bias: biases}
layers:
  Conv2d_1_depthwise: {kind: depthwise_conv2d, kernel_size: 3, use_bias: false}
  norm: {kind: batch_norm, scope: Conv2d_1_depthwise/BatchNorm, scale: false, momentum: 0.999}
  Conv2d_1_pointwise: {kind: conv2d, filters: 4, kernel_size: 1}
  separable: {kind: separable_conv2d, filters: 4, kernel_size: 3}
  up: {kind: conv2d_transpose, filters: 2, kernel_size: 2, strides: 2, scope: Conv2d_transpose}
""",
        {
            "Conv2d_1_depthwise/depthwise_weights": (3, 3, 3, 1),
            "Conv2d_1_depthwise/BatchNorm/beta": (3,),
            "Conv2d_1_depthwise/BatchNorm/moving_mean": (3,),
            "Conv2d_1_depthwise/BatchNorm/moving_variance": (3,),
            "Conv2d_1_pointwise/weights": (1, 1, 3, 4),
            "Conv2d_1_pointwise/biases": (4,),
            "separable/depthwise_weights": (3, 3, 4, 1),
            "separable/pointwise_weights": (1, 1, 4, 4),
            "separable/biases": (4,),
            "Conv2d_transpose/weights": (2, 2, 2, 4),
            "Conv2d_transpose/biases": (2,),
        },
    ),
}


@pytest.mark.parametrize(("text", "variables"), NETWORKS.values(), ids=NETWORKS)
def test_variables_have_their_published_names_and_shapes(text: str, variables: dict[str, tuple[int, ...]]) -> None:
    assert {name: variable.shape for name, variable in spec_of(text).variables.items()} == variables

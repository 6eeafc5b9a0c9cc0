"""Networks of many kinds of layers through the whole program: trained, frozen, proven, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from experiments import Values, checkpoint_values, config_of, run
from expkit.export.freeze import read_frozen
from expkit.registry import kinds

SEQUENCES = """
inputs: {ids: {shape: [70], dtype: int32}, count: {shape: [], dtype: int32}, mask: {shape: [70], dtype: int32}}
layers:
  table: {kind: embedding, input: ids, input_dim: 9, output_dim: 6}
  placed: {kind: position_embedding, max_length: 80}
  waved: {kind: position_encoding}
  noisy: {kind: gaussian_noise, stddev: 0.1}
  attended: {kind: attention, num_heads: 2, key_dim: 3, output_dim: 6, mask: mask, causal: true, dropout: 0.1}
  sum: {kind: add, input: [attended, noisy]}
  normed: {kind: layer_norm}
  short: {kind: slice, stop: 5}
  rms: {kind: rms_norm}
  few: {kind: lstm, units: 4, direction: both, use_peepholes: true}
  many: {kind: gru, input: normed, units: 4, lengths: count, return_sequences: true}
  halves: {kind: split, parts: 2}
  back:
    {kind: lstm, input: halves/1, units: 4, projection: 3, lengths: count, initial_c: many/state_h, direction: backward}
  hot: {kind: one_hot, input: ids, depth: 9}
  counted: {kind: reduce, function: mean, axis: 1}
  first: {kind: gather, input: normed, indices: 0}
  scores: {kind: matmul, input: [normed, normed], transpose_b: true}
  narrow: {kind: conv1d, filters: 4, kernel_size: 3, strides: 4, dilation_rate: 1, groups: 2}
  pooled: {kind: global_max_pool}
  norm: {kind: batch_norm, unbiased_variance: true}
  turned: {kind: transpose, input: normed, perm: [2, 1]}
  dotted: {kind: dot, input: [turned, turned], normalize: true}
  joined: {kind: concat, input: [few, few/state_c, back, back/state_h, counted, first, norm, dotted]}
  logits: {kind: dense, units: 3}
outputs: {logits: logits}
"""

IMAGES = """
inputs: {x: {shape: [12, 12, 4]}}
layers:
  padded: {kind: pad, paddings: [[1, 1], [1, 1]], mode: reflect}
  conv: {kind: conv2d, filters: 8, kernel_size: 3, groups: 2, padding: [[0, 1], [1, 0]], activation: crelu}
  near: {kind: local_response_norm, depth_radius: 2}
  depth: {kind: depthwise_conv2d, kernel_size: 3, strides: 2, activation: gelu_tanh}
  grouped: {kind: group_norm, groups: 4}
  wide: {kind: separable_conv2d, filters: 8, kernel_size: 3, dilation_rate: 2, activation: hard_silu}
  normed: {kind: batch_norm}
  up: {kind: conv2d_transpose, filters: 4, kernel_size: 4, strides: 2, activation: leaky_relu}
  cut: {kind: crop, cropping: [[1, 1], [0, 2]]}
  small: {kind: resize, size: 6}
  large: {kind: resize, scale: 2, method: nearest}
  pooled: {kind: global_average_pool, input: large, keepdims: true}
  scaled: {kind: multiply, input: [large, pooled]}
  most: {kind: maximum, input: [scaled, large]}
  least: {kind: minimum, input: [scaled, most]}
  mean: {kind: average, input: [least, scaled]}
  rest: {kind: subtract, input: [mean, large]}
  two: {kind: stack, input: [rest, mean]}
  volume: {kind: conv3d, filters: 3, kernel_size: [2, 3, 3], strides: [1, 2, 2], padding: valid}
  halved: {kind: average_pool, pool_size: [1, 2, 2]}
  smaller: {kind: max_pool, pool_size: 1}
  float: {kind: cast, dtype: float32}
  flat: {kind: flatten}
  logits: {kind: dense, units: 3}
outputs: {logits: logits}
"""


def data(name: str) -> Values:
    draw = np.random.default_rng(0)
    label = draw.integers(0, 3, 60)
    if name == "images":
        return {"x": draw.normal(size=(60, 12, 12, 4)).astype(np.float32), "label": label}
    count = draw.integers(1, 71, 60).astype(np.int32)
    mask = (np.arange(70) < count[:, None]).astype(np.int32)
    return {"ids": draw.integers(0, 9, (60, 70)).astype(np.int32), "count": count, "mask": mask, "label": label}


NETWORKS = {"sequences": SEQUENCES, "images": IMAGES}
LEFT_OUT = {"scope", "block", "constant", "variable", "reshape", "activation", "dropout"}  # Those have their own.


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_trains_every_variable_and_freezes(tmp_path: Path, name: str) -> None:
    network, arrays = yaml.safe_load(NETWORKS[name]), data(name)
    values: list[Values] = []
    for steps in (0, 3):
        config = config_of(tmp_path / "data", arrays, network=network, train={"steps": steps, "jit_compile": False})
        result = run(config, tmp_path / f"run{steps}")
        assert result.frozen is not None, "freezing ends with a proof of equality"
        values.append(checkpoint_values(tmp_path / f"run{steps}" / "checkpoints" / f"step-{steps:08}" / "model"))
    before, after = values
    still = [key for key, value in after.items() if np.array_equal(value, before[key])]
    assert not still, "these did not train"
    fed = {key: arrays[key][:5] for key in network["inputs"]}
    assert np.isfinite(read_frozen(result.frozen.path).predict(fed)["logits"]).all()


def test_the_networks_hold_every_kind() -> None:
    used = {layer["kind"] for text in NETWORKS.values() for layer in yaml.safe_load(text)["layers"].values()}
    assert used | LEFT_OUT == set(kinds("layer"))

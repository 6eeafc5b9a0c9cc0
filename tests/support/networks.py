"""Networks for tests, from YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from expkit import tf1 as tf
from expkit.config.sections.network import NetworkConfig
from expkit.errors import ConfigError
from expkit.network.elaborate import network_spec
from expkit.network.spec import NetworkSpec

ONE_INPUT = {"inputs": {"x": {"shape": [4]}}}

SEQUENCES = """
inputs: {ids: {shape: [70], dtype: int32}, count: {shape: [], dtype: int32}, mask: {shape: [70], dtype: int32}}
blocks:
  speaker:
    layers:
      heard: {kind: one_hot, input: token, depth: 9}
      both: {kind: concat, input: [heard, h]}
      new: {kind: dense, units: 4, activation: tanh}
      words: {kind: dense, units: 9}
    outputs: {h: new}
layers:
  table: {kind: embedding, input: ids, input_dim: 9, output_dim: 6}
  placed: {kind: position_embedding, max_length: 80}
  waved: {kind: position_encoding}
  noisy: {kind: gaussian_noise, stddev: 0.1}
  attended: {kind: attention, num_heads: 2, key_dim: 3, output_dim: 6, mask: mask, causal: true, dropout: 0.1}
  drawn: {kind: random, batch_of: waved, stddev: 0.1}
  deep: {kind: drop_path, input: attended, rate: 0.1}
  sum: {kind: add, input: [deep, noisy, drawn]}
  normed: {kind: layer_norm}
  short: {kind: slice, stop: 5}
  rms: {kind: rms_norm}
  few: {kind: lstm, units: 4, direction: both, use_peepholes: true}
  loud: {kind: compare, input: normed, function: greater, value: 0.5}
  capped: {kind: clip, input: normed, minimum: -2, maximum: 2}
  squared: {kind: math, function: square}
  summed: {kind: cumsum}
  ratio: {kind: divide, input: [summed, squared]}
  held: {kind: scale_gradient, input: capped, scale: -0.5}
  kept: {kind: stop_gradient, input: normed}
  chosen: {kind: where, input: [held, kept], condition: loud}
  selected: {kind: reduce, function: mean, axis: 1}
  most: {kind: argmax, input: ratio}
  index: {kind: cast, dtype: float32}
  positions: {kind: reduce, function: mean, axis: 1, keepdims: true}
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
  begun: {kind: slice, input: ids, stop: 4}
  spoken: {kind: scan, block: speaker, inputs: {token: begun}, states: {h: {shape: [4]}}, lengths: count}
  said:
    {kind: decode, block: speaker, scope: spoken, reuse: true, token: token, states: {h: {initial: spoken/state_h}},
     start: 0, end: 8, max_length: 3, beam_width: 2}
  words: {kind: reduce, input: spoken, function: mean, axis: 1}
  joined:
    kind: concat
    input: [words, few, few/state_c, back, back/state_h, counted, first, norm, dotted, selected, positions]
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

OF_ALL_KINDS = {"sequences": SEQUENCES, "images": IMAGES}
"""Networks that together hold almost every kind of layer."""

GAN: dict[str, Any] = {
    "inputs": {"image": {"shape": [4], "use": "training"}, "z": {"shape": [3], "use": "serving"}},
    "blocks": {
        "generator": {
            "layers": {
                "hidden": {"kind": "dense", "units": 6, "activation": "relu"},
                "image": {"kind": "dense", "units": 4, "activation": "tanh"},
            }
        },
        "discriminator": {
            "layers": {
                "hidden": {"kind": "dense", "units": 5, "activation": "leaky_relu"},
                "logit": {"kind": "dense", "units": 1},
            }
        },
    },
    "layers": {
        "noise": {"kind": "random", "batch_of": "image", "shape": [3]},
        "fake": {"kind": "block", "block": "generator", "scope": "G", "input": "noise"},
        "of_fake": {"kind": "block", "block": "discriminator", "scope": "D"},
        "of_real": {"kind": "block", "block": "discriminator", "scope": "D", "reuse": True, "input": "image"},
        "drawn": {"kind": "block", "block": "generator", "scope": "G", "reuse": True, "input": "z"},
    },
    "outputs": {
        "fake": {"layer": "of_fake", "use": "training"},
        "real": {"layer": "of_real", "use": "training"},
        "sample": {"layer": "drawn", "use": "serving"},
    },
}
"""A generator that reads random numbers in training and the input ``z`` in the frozen graph."""


def examples_of_all_kinds(name: str) -> dict[str, np.ndarray]:
    """Return 60 examples for one of the networks of all kinds, with labels."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, 3, 60)
    if name == "images":
        return {"x": draw.normal(size=(60, 12, 12, 4)).astype(np.float32), "label": label}
    count = draw.integers(1, 71, 60).astype(np.int32)
    mask = (np.arange(70) < count[:, None]).astype(np.int32)
    return {"ids": draw.integers(0, 9, (60, 70)).astype(np.int32), "count": count, "mask": mask, "label": label}


def spec_of(text: str | dict[str, Any]) -> NetworkSpec:
    """Return the network of a YAML text; input ``x`` of shape [4] and the last layer as output ``out`` if not given."""
    return network_spec(config_of(text))


def config_of(text: str | dict[str, Any]) -> NetworkConfig:
    raw = yaml.safe_load(text) if isinstance(text, str) else text
    raw = {**ONE_INPUT, "outputs": {"out": next(reversed(raw["layers"]))}, **raw}
    return NetworkConfig.model_validate_json(json.dumps(raw))


def plain_and_compiled(function: Callable[..., Any], *arrays: Any) -> tuple[Any, Any]:
    """Return what a function of tensors gives as it is written, and compiled by XLA.

    The arrays are held in variables: what depends on no state TensorFlow does not compile in a session's graph.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        held = tf.nest.map_structure(lambda array: tf.Variable(array, use_resource=True), arrays)

        def run() -> Any:
            return function(*tf.nest.map_structure(tf.convert_to_tensor, held))

        compiled = tf.function(run, jit_compile=True, autograph=False)()
        session.run(tf.global_variables_initializer())
        plain, fused = session.run([run(), compiled])
    return plain, fused


def problems_of(text: str | dict[str, Any]) -> list[str]:
    """Return every problem of a network that has some."""
    with pytest.raises(ConfigError) as caught:
        spec_of(text)
    return [str(problem) for problem in caught.value.problems]


def fields_problems(text: str) -> list[str]:
    """Return every problem of the fields of a network, before its layers are connected."""
    with pytest.raises(ValidationError) as caught:
        config_of(text)
    return [
        f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
        for item in caught.value.errors()
    ]


def open_scope(scopes: ExitStack, root: Any, scope: str, reuse: bool | str) -> None:
    """Open a scope in TensorFlow as it is written in YAML, from the root where it begins with a slash."""
    flag = {False: None, True: True, "auto": tf.AUTO_REUSE}[reuse]
    if scope.startswith("/"):
        scopes.enter_context(tf.variable_scope(root, reuse=flag))
        if scope != "/":
            scopes.enter_context(tf.variable_scope(scope[1:]))
    else:
        scopes.enter_context(tf.variable_scope(scope or tf.get_variable_scope(), reuse=flag))

"""Networks for tests, from YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from expkit import tf1 as tf
from expkit.config.network import NetworkConfig
from expkit.errors import ConfigError
from expkit.network.spec import NetworkSpec, network_spec

ONE_INPUT = {"inputs": {"x": {"shape": [4]}}}


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


def open_scope(scopes: ExitStack, root: Any, scope: str, reuse: bool | str) -> None:
    """Open a scope in TensorFlow as it is written in YAML, from the root where it begins with a slash."""
    flag = {False: None, True: True, "auto": tf.AUTO_REUSE}[reuse]
    if scope.startswith("/"):
        scopes.enter_context(tf.variable_scope(root, reuse=flag))
        if scope != "/":
            scopes.enter_context(tf.variable_scope(scope[1:]))
    else:
        scopes.enter_context(tf.variable_scope(scope or tf.get_variable_scope(), reuse=flag))

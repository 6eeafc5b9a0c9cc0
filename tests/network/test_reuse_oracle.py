"""TensorFlow as the oracle of scope and reuse: the same variables made, the same shared, the same layer refused."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from expkit import tf1 as tf
from expkit.errors import ConfigError
from expkit.kinds.layers.scope import Scope
from expkit.network.names import inherit
from expkit.tensor_spec import TensorSpec
from support.networks import config_of, open_scope, spec_of

SCOPES = (None, None, "a", "b", "a/b", "", "/a", "/a/b", "/")
REUSE = (False, False, True, "auto", "auto", "auto")
NAMES = ({}, {}, {}, {"kernel": "w"}, {"kernel": "a/kernel"})
EXAMPLES = 200


def random_layers(rng: random.Random, depth: int) -> dict[str, Any]:
    """Return nested layers that often share names; all read the same input, so they are made as written."""
    layers: dict[str, Any] = {}
    for name in rng.sample(("a", "b", "c", "d"), rng.randint(1, 4)):
        layer: dict[str, Any] = {"reuse": rng.choice(REUSE), "variables": dict(rng.choice(NAMES))}
        scope = rng.choice(SCOPES)
        if scope is not None:
            layer["scope"] = scope
        if depth and rng.random() < 0.5:
            layer |= {"kind": "scope", "layers": random_layers(rng, depth - 1)}
        else:
            units = rng.choice((4, 4, 4, 4, 4, 5))
            layer |= {"kind": "dense", "input": "x", "units": units, "use_bias": rng.random() < 0.5}
        layers[name] = layer
    return layers


Calls = list[tuple[str, str, tuple[int, ...], bool]]
"""Layer, full name, shape, and whether the variable is new, in the order of the calls of ``get_variable``."""


def tensorflow_calls(layers: Mapping[str, Any], naming: Mapping[str, str]) -> tuple[Calls, str | None]:
    """Return what TensorFlow does, and the layer at which it raises."""
    calls: Calls = []
    at: list[str] = [""]

    def walk(root: Any, inside: Mapping[str, Any], path: str, outer: Mapping[str, str]) -> None:
        for name, layer in inside.items():
            names = {**outer, **layer.variables}
            with ExitStack() as scopes:
                open_scope(scopes, root, name if layer.scope is None else layer.scope, layer.reuse)
                if isinstance(layer, Scope):
                    walk(root, layer.layers, f"{path}{name}/", names)
                    continue
                at[0] = f"{path}{name}"
                for item in layer.declare([TensorSpec((4,))]):
                    known = {variable.op.name for variable in tf.global_variables()}
                    zeros = tf.zeros_initializer()
                    made = tf.get_variable(names.get(item.name, item.name), item.shape, initializer=zeros)
                    calls.append((at[0], made.op.name, tuple(made.shape.as_list()), made.op.name not in known))

    with tf.Graph().as_default():
        try:
            walk(tf.get_variable_scope(), layers, "", naming)
        except ValueError:
            return calls, at[0]
    return calls, None


def expkit_calls(raw: dict[str, Any]) -> tuple[Calls, str | None]:
    """Return what expkit works out, and the layer of its first problem."""
    try:
        spec = spec_of(raw)
    except ConfigError as error:
        parts = error.problems[0].path.split(".")
        return [], "/".join(part for part in parts[2:] if part not in ("layers", "reuse", "variables"))
    made: set[str] = set()
    calls = []
    for layer in spec.layers:
        for name in layer.bindings.values():
            calls.append((layer.path, name, spec.variables[name].shape, name not in made))
            made.add(name)
    return calls, None


def networks() -> Iterator[dict[str, Any]]:
    """Yield random networks; in half of them the first layers make what later ones can share."""
    for seed in range(EXAMPLES):
        rng = random.Random(seed)
        made = [("m", "/"), ("n", "a"), ("o", "a/b"), ("p", "a/a"), ("q", "b")] if seed % 2 else []
        layers = {name: {"kind": "dense", "input": "x", "units": 4, "scope": scope} for name, scope in made}
        layers |= random_layers(rng, depth=2)
        yield {"layers": layers, "outputs": {"the_output": next(iter(layers))}}


def test_random_networks_make_share_and_refuse_what_tensorflow_does() -> None:
    refused = shared = 0
    for raw in networks():
        config = config_of(raw)
        theirs, their_error = tensorflow_calls(config.layers, config.variables)
        ours, our_error = expkit_calls(raw)
        assert our_error == their_error, raw
        if their_error is None:
            assert ours == theirs, raw
            shared += any(not new for *_, new in theirs)
        refused += their_error is not None
    assert EXAMPLES - refused > EXAMPLES // 5, "too few networks are sound to compare"
    assert refused > EXAMPLES // 5, "too few networks are refused to compare"
    assert shared > EXAMPLES // 10, "too few networks share variables"


def test_classic_example_reuses_inside_and_not_after() -> None:
    text = """
        layers:
          before: {kind: dense, input: x, scope: foo, units: 4}
          outer:
            kind: scope
            scope: foo
            reuse: true
            layers:
              itself: {kind: dense, input: x, scope: "", units: 4}
              inner: {kind: dense, input: x, scope: "", units: 4}
          after: {kind: dense, input: x, units: 4}
    """
    with tf.Graph().as_default():
        seen = []
        with tf.variable_scope("foo"):
            seen.append(tf.get_variable_scope().reuse)
        with tf.variable_scope("foo", reuse=True):
            seen.append(tf.get_variable_scope().reuse)
            with tf.variable_scope("bar"):
                seen.append(tf.get_variable_scope().reuse)
        seen.append(tf.get_variable_scope().reuse)
    assert seen == [False, True, True, False]
    assert [layer.reuse for layer in spec_of(text).layers] == ["false", "true", "true", "false"]


@pytest.mark.parametrize("outer", ["false", "true", "auto"])
@pytest.mark.parametrize("own", ["false", "true", "auto"])
def test_inherit_is_what_a_nested_variable_scope_reports(outer: Any, own: Any) -> None:
    flags = {"false": None, "true": True, "auto": tf.AUTO_REUSE}
    with tf.Graph().as_default():
        root = tf.get_variable_scope()
        with tf.variable_scope("outer", reuse=flags[outer]):
            with tf.variable_scope("inner", reuse=flags[own]):
                nested = tf.get_variable_scope().reuse
            with tf.variable_scope(root, reuse=flags[own]), tf.variable_scope("inner"):
                from_root = tf.get_variable_scope().reuse
    assert nested == (flags[inherit(outer, own)] or False)
    assert from_root == (flags[inherit(outer, own, from_root=True)] or False)

"""TensorFlow as the oracle of structure: networks of scopes, repetitions, blocks and ties, walked by a plain program.

The program below opens one ``variable_scope`` after the other as the configuration is written and knows nothing of how
expkit unfolds it. Both must make and share the same variables, refuse the same layer, and compute the same numbers.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.sections.network import NetworkConfig
from expkit.errors import ConfigError
from expkit.kinds.layers.base import Layer, Shared
from expkit.kinds.layers.scope import Block, Nest, Scope, ScopeFields
from expkit.kinds.layers.template import LayerTemplate, ScopeTemplate
from expkit.network.build import connect, create_variables
from expkit.registry import kinds
from support.networks import config_of, open_scope, spec_of

pytestmark = pytest.mark.untraced

EXAMPLES = 120
SCOPES = (None, None, None, "a", "b", "a/b", "", "/a")
INDEXED = (None, None, "a{index}", "/s/u{index}", "a")
REUSE = (False, False, False, True, *["auto"] * 8)
NAMES = ({}, {}, {}, {"kernel": "w"}, {"kernel": "a/kernel"})
TIES = ("kernel", *["a/kernel", "a/b/kernel", "b/kernel", "m/kernel"] * 3, "nowhere/kernel")
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def value_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers that depend on a variable's name alone."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(np.float32) * 0.5


# Networks, as plain data.


def dense(rng: random.Random) -> dict[str, Any]:
    layer: dict[str, Any] = {
        "kind": "dense",
        "units": 5 if rng.random() < 0.03 else 4,
        "use_bias": rng.random() < 0.3,
        "reuse": rng.choice(REUSE),
    }
    if rng.random() < 0.2:
        layer["share"] = {"kernel": {"variable": rng.choice(TIES), "transpose": rng.random() < 0.5}}
    else:
        layer["variables"] = dict(rng.choice(NAMES))
    return layer


def layers_of(rng: random.Random, depth: int, blocks: tuple[str, ...], given: tuple[str, ...]) -> dict[str, Any]:
    """Return layers, the first of them dense; sums read any of the layers before and what is given."""
    layers: dict[str, Any] = {}
    seen = list(given)
    for name in rng.sample(("a", "b", "c", "d"), rng.randint(2, 4)):
        kind = rng.choice(("dense", "scope", "block", "add")) if layers else "dense"
        if kind == "add" and seen:
            layers[name] = {"kind": "add", "input": [rng.choice(seen), rng.choice(seen)]}
        elif kind == "scope" and depth:
            layers[name] = scope_of(rng, depth, blocks, seen)
        elif kind == "block" and blocks:
            layers[name] = {"kind": "block", "block": rng.choice(blocks), **placed(rng, seen, ("h",))}
        else:
            layers[name] = dense(rng) | scoped(rng, SCOPES)
        seen.append(name)
        if "outputs" in layers[name]:
            seen.append(f"{name}/first")
    return layers


def scope_of(rng: random.Random, depth: int, blocks: tuple[str, ...], seen: list[str]) -> dict[str, Any]:
    place = placed(rng, seen, ("h", "mask")[: rng.randint(0, 2)])
    layers = layers_of(rng, depth - 1, blocks, tuple(place.get("inputs", ())))
    outputs = {"outputs": {"first": next(iter(layers))}} if rng.random() < 0.5 else {}
    return {"kind": "scope", "layers": layers, **outputs, **place}


def scoped(rng: random.Random, scopes: tuple[str | None, ...]) -> dict[str, Any]:
    scope = rng.choice(scopes)
    return {} if scope is None else {"scope": scope}


def placed(rng: random.Random, seen: list[str], names: tuple[str, ...]) -> dict[str, Any]:
    """Return what a scope or a block says of its place."""
    fields: dict[str, Any] = {"reuse": rng.choice(REUSE), "variables": dict(rng.choice(NAMES))}
    if names and seen:
        fields["inputs"] = {name: rng.choice(seen) for name in names}
    if rng.random() < 0.4:
        return fields | scoped(rng, INDEXED) | {"repeat": rng.randint(1, 3), "first_index": rng.randint(0, 1)}
    return fields | scoped(rng, SCOPES)


def used(layers: Mapping[str, Any], blocks: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for layer in layers.values():
        found |= used(layer["layers"], blocks) if layer["kind"] == "scope" else set()
        if layer["kind"] == "block":
            found |= {layer["block"]} | used(blocks[layer["block"]]["layers"], blocks)
    return found


def networks() -> Iterator[dict[str, Any]]:
    for seed in range(EXAMPLES):
        rng = random.Random(seed)
        blocks = {"inner": {"layers": layers_of(rng, 0, (), ("h",))}}
        blocks["outer"] = {"layers": layers_of(rng, 1, ("inner",), ("h",))}
        first = [("m", None), ("n", "a"), ("o", "a/b"), ("p", ""), ("q", "b")] if seed % 3 else []
        layers = {
            name: {"kind": "dense", "units": 4, "use_bias": False, **({} if scope is None else {"scope": scope})}
            for name, scope in first
        }
        layers["rest"] = {"kind": "scope", "scope": "", "inputs": {"h": "x"}} | {
            "layers": layers_of(rng, 2, ("inner", "outer"), ("h",))
        }
        kept = used(layers, blocks)
        yield {
            "blocks": {name: block for name, block in blocks.items() if name in kept},
            "layers": layers,
            "outputs": {"the_output": "rest"},
        }


# The plain program.

Calls = list[tuple[str, tuple[int, ...], bool]]
"""Full name, shape, and whether the variable is new, in the order of use."""


class Refused(Exception):
    """Raised where TensorFlow, or a tie, refuses a layer."""


def with_index(layer: Layer | LayerTemplate, number: int | None) -> Any:
    """Return a layer with the number of its repetition in place of ``{index}``."""
    if not isinstance(layer, LayerTemplate):
        return layer
    raw = json.loads(json.dumps(layer.fields).replace("{index}", str(number)))
    if isinstance(layer, ScopeTemplate):
        return Scope.model_construct(**{**dict(ScopeFields.model_validate(raw)), "layers": layer.layers})
    return kinds("layer")[raw["kind"]].model_validate_json(json.dumps(raw))


class Program:
    """A network written down call by call."""

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        self.calls: Calls = []
        self.at: tuple[str, str] = ("", "")
        """Paths of the layer that is being made, and of what connects the outermost block around it."""

    def run(self) -> Any:
        self.root = tf.get_variable_scope()
        x = tf.constant(X)
        visible = self.walk(self.config.layers, "network.layers", None, {"x": x}, x, self.config.variables, None)
        return visible[self.config.outputs["the_output"]]

    def walk(
        self,
        layers: Mapping[str, Layer | LayerTemplate],
        at: str,
        connected: str | None,
        outside: Mapping[str, Any],
        before: Any,
        naming: Mapping[str, str],
        index: int | None,
    ) -> dict[str, Any]:
        """Make layers; return what they are called inside, the last under ``""``."""
        made: dict[str, Any] = {}
        for key, layer in layers.items():
            here = f"{at}.{key}"
            written = layer
            layer = with_index(written, index or 0)
            repeat = layer.repeat if isinstance(layer, Nest) else None
            first = layer.first_index if isinstance(layer, Nest) else 0
            for count in range(repeat or 1):
                number = index if repeat is None else first + count
                layer = with_index(written, number)
                name = key if repeat is None else f"{key}_{number}"
                visible = {**outside, **made}
                with ExitStack() as scopes:
                    scope = name if layer.scope is None else layer.scope
                    open_scope(scopes, self.root, scope, layer.reuse)
                    names = {**naming, **layer.variables}
                    if isinstance(layer, Nest):
                        given = {inner: visible[outer] for inner, outer in layer.inputs.items()}
                        if given and count:
                            given[next(iter(given))] = before
                        block = self.config.blocks[layer.block] if isinstance(layer, Block) else layer
                        assert isinstance(layer, Block | Scope)
                        inside = self.walk(
                            block.layers,
                            f"network.blocks.{layer.block}.layers" if isinstance(layer, Block) else f"{here}.layers",
                            connected or (here if isinstance(layer, Block) else None),
                            given if isinstance(layer, Block) else {**visible, **given},
                            next(iter(given.values()), before),
                            names,
                            number,
                        )
                        before = inside[""]
                        for output, source in block.outputs.items():
                            made[f"{name}/{output}"] = made[f"{key}/{output}"] = inside[source]
                    else:
                        self.at = (here, connected or here)
                        before = self.layer(layer, names, [visible[one] for one in layer.input or ()], before)
                made[name] = made[key] = before
        return {**made, "": before}

    def layer(self, layer: Any, names: Mapping[str, str], read: list[Any], before: Any) -> Any:
        if layer.kind == "add":
            if read[0].shape.as_list() != read[1].shape.as_list():
                raise Refused
            return read[0] + read[1]
        features = before.shape.as_list()[1]
        tie = layer.share.get("kernel")
        kernel = (
            self.tied(tie, (features, layer.units)) if tie else self.variable(names, "kernel", (features, layer.units))
        )
        result = tf.matmul(before, kernel)
        return result + self.variable(names, "bias", (layer.units,)) if layer.use_bias else result

    def variable(self, names: Mapping[str, str], local: str, shape: tuple[int, ...]) -> Any:
        known = {variable.op.name for variable in tf.global_variables()}
        try:
            made = tf.get_variable(
                names.get(local, local), shape, initializer=tf.zeros_initializer(), use_resource=True
            )
        except ValueError:
            raise Refused from None
        self.calls.append((made.op.name, tuple(made.shape.as_list()), made.op.name not in known))
        return made

    def tied(self, tie: Shared, shape: tuple[int, ...]) -> Any:
        found = {variable.op.name: variable for variable in tf.global_variables()}.get(tie.variable)
        if found is None:
            raise Refused
        self.calls.append((found.op.name, tuple(found.shape.as_list()), False))
        tensor = tf.transpose(found) if tie.transpose else tf.convert_to_tensor(found)
        if tuple(tensor.shape.as_list()) != shape:
            raise Refused
        return tensor


def computed(output: Any) -> np.ndarray:
    with tf.Session() as session:
        for variable in tf.global_variables():
            shape = tuple(variable.shape.as_list())
            session.run(variable.initializer, {variable.initializer.inputs[1]: value_of(variable.op.name, shape)})
        return np.asarray(session.run(output))


def test_random_networks_of_scopes_repetitions_blocks_and_ties_are_what_a_plain_program_makes() -> None:
    refused = shared = tied = repeated = connected = 0
    for raw in networks():
        program = Program(config_of(raw))
        with tf.Graph().as_default():
            try:
                theirs, wrong = computed(program.run()), None
            except Refused:
                theirs, wrong = None, program.at
        if wrong is not None:
            refused += 1
            with pytest.raises(ConfigError) as caught:
                spec_of(raw)
            path = caught.value.problems[0].path
            assert path.removesuffix(".share.kernel") == wrong[0] or path == f"{wrong[1]}.reuse", (path, wrong, raw)
            continue
        spec = spec_of(raw)
        made: set[str] = set()
        calls: Calls = []
        for layer in spec.layers:
            for name in layer.bindings.values():
                calls.append((name, spec.variables[name].shape, name not in made))
                made.add(name)
        assert calls == program.calls, raw
        with tf.Graph().as_default():
            output = connect(spec, create_variables(spec, 0), {"x": tf.constant(X)}).outputs["the_output"]
            np.testing.assert_allclose(computed(output), theirs, rtol=1e-4, atol=1e-5, err_msg=str(raw))
        shared += any(not new for *_, new in calls)
        tied += any(layer.shared for layer in spec.layers)
        repeated += "'repeat'" in str(raw)
        connected += bool(raw["blocks"])
    assert EXAMPLES - refused > EXAMPLES // 5, "too few networks are sound to compare"
    assert refused > EXAMPLES // 5, "too few networks are refused to compare"
    assert min(shared, tied, repeated, connected) > EXAMPLES // 20, (shared, tied, repeated, connected)

"""TensorFlow as the oracle of whole networks: every file's and 340 random ones, of all kinds."""

from __future__ import annotations

import pytest

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.elaborate import network_spec
from expkit.network.ema_variables import create_ema_variables, read_averages
from expkit.network.spec import NetworkSpec
from expkit.registry import kinds
from support.networks import spec_of
from support.random_networks import random_networks
from support.recipes import RECIPES

pytestmark = pytest.mark.untraced

EXAMPLES = 340
CONF = builtin_conf()


def assert_graph_is_as_described(spec: NetworkSpec, note: object = "") -> None:
    """Build the inference graph; compare all variables, and every layer's tensors."""
    with tf.Graph().as_default() as graph:
        variables = create_variables(spec, 0)
        averages = read_averages(spec, create_ema_variables(variables, spec.averaged))
        connect(spec, {**variables, **averages}, placeholders(spec))
        own = [variable for variable in tf.global_variables() if variable.op.name not in averages]
        made = {v.op.name: (tuple(v.shape.as_list()), v.dtype.base_dtype.name) for v in own}
        assert made == {name: (item.shape, item.dtype) for name, item in spec.variables.items()}, note
        assert [v.op.name for v in tf.trainable_variables()] == list(spec.trainable), note
        for path, item in spec.tensors.items():
            tensor = graph.get_tensor_by_name(f"{path}:0")
            assert tensor.dtype.base_dtype.name == item.dtype, (path, note)
            assert tensor.shape.is_compatible_with((None if item.batched else 1, *item.shape)), (path, note)


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF / "network").glob("*.yaml")))
@pytest.mark.usefixtures("empty_folder")
def test_every_network_file_is_built_as_described(name: str) -> None:
    assert_graph_is_as_described(network_spec(load(["~experiment", f"network={name}"]).network))


@pytest.mark.parametrize("name", sorted(file.stem for file in (CONF / "experiment").glob("*.yaml")))
@pytest.mark.usefixtures("empty_folder")
def test_every_experiments_network_is_built_as_described(name: str) -> None:
    assert_graph_is_as_described(network_spec(load([f"experiment={name}"]).network))


def test_every_kind_has_a_recipe() -> None:
    others = {"scope", "block", "scan", "decode", "ema_of", "similarity"}
    assert set(RECIPES) | others == set(kinds("layer")), "a kind lacks its line in tests/support/recipes.py"


def test_random_networks_are_built_as_described() -> None:
    seen: dict[str, int] = {}
    shared = nested = 0
    for seed, raw in random_networks(EXAMPLES):
        spec = spec_of(raw)
        assert_graph_is_as_described(spec, (seed, raw))
        for layer in spec.layers:
            seen[layer.layer.kind] = seen.get(layer.layer.kind, 0) + 1
            nested += layer.path.count("/") > 1
        shared += any(len(variable.layers) > 1 for variable in spec.variables.values())
    assert {kind: count for kind, count in seen.items() if count < 10} == {}, "too few to say anything of these kinds"
    assert set(seen) == set(RECIPES)
    assert shared > EXAMPLES // 10
    assert nested > EXAMPLES // 10

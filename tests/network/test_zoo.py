"""The published networks under ``conf/network``: names, shapes, counts, and the numbers of plain programs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.data.dataset import load_dataset
from expkit.network.build import connect, create_variables
from expkit.network.elaborate import network_spec
from expkit.network.spec import NetworkSpec
from expkit.preflight import load_checked
from support import published
from support.experiments import Values
from support.network_files import command, head

CONF = builtin_conf()
REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests/golden/variables"
EXPERIMENTS = {file.stem for file in (CONF / "experiment").glob("*.yaml")}
ZOO = {
    "alexnet_v2": (16, 50_303_912),
    "dcgan_discriminator": (20, 11_147_201),
    "dcgan_generator": (16, 3_572_867),
    "inception_v3": (388, 27_143_152),
    "lenet5": (10, 61_706),
    "mobilenet_v1": (137, 4_231_976),
    "resnet18": (102, 11_689_512),
    "resnet_v1_50": (267, 25_557_032),
    "resnet_v2_50": (272, 25_568_360),
    "unet": (46, 31_030_658),
    "vgg_16": (32, 138_357_544),
    "vgg_19": (38, 143_667_240),
}
"""How many variables, and how many numbers in those that train."""

SMALLER = {
    "alexnet_v2": ["network.inputs.image.shape=[67,67,3]", "network.layers.alexnet_v2.layers.fc6.kernel_size=1"],
    "mobilenet_v1": ["network.inputs.image.shape=[64,64,3]"],
    "resnet18": ["network.inputs.image.shape=[64,64,3]"],
    "resnet_v1_50": ["network.inputs.image.shape=[64,64,3]"],
    "resnet_v2_50": ["network.inputs.image.shape=[64,64,3]"],
    "unet": ["network.inputs.image.shape=[188,188,1]"],
    "vgg_16": ["network.inputs.image.shape=[64,64,3]", "network.layers.vgg_16.layers.fc6.kernel_size=2"],
    "vgg_19": ["network.inputs.image.shape=[32,32,3]", "network.layers.vgg_19.layers.fc6.kernel_size=1"],
}
"""Overrides that make the images of a network smaller."""

ANSWERS = {"unet": (4, 4, 2), "dcgan_generator": (32, 32, 3), "dcgan_discriminator": (1,), "lenet5": (10,)}
"""Shapes of one example's logits where they are not 1,000 classes (of the smaller images)."""

pytestmark = [pytest.mark.untraced, pytest.mark.usefixtures("empty_folder")]


@cache
def spec_of(name: str, *overrides: str) -> NetworkSpec:
    return network_spec(load(["~experiment", f"network={name}", *overrides]).network)


def trained(spec: NetworkSpec) -> int:
    return sum(variable.size for variable in spec.variables.values() if variable.trainable)


@pytest.mark.parametrize("name", ZOO)
def test_a_network_has_as_many_variables_and_parameters_as_published(name: str) -> None:
    spec = spec_of(name)
    assert (len(spec.variables), trained(spec)) == ZOO[name]


@pytest.mark.parametrize("name", sorted({file.stem for file in (CONF / "network").glob("*.yaml")} - EXPERIMENTS))
def test_names_and_shapes_are_those_promised(name: str) -> None:
    lines = sorted(f"{item} {list(variable.shape)}" for item, variable in spec_of(name).variables.items())
    assert "\n".join(lines) + "\n" == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ZOO)
def test_a_file_states_its_count_and_the_published_one(name: str) -> None:
    variables, count = ZOO[name]
    (line,) = (line for line in head(name) if line.startswith("# Parameters: "))
    assert re.match(rf"# Parameters: {count:,} (trained, )?in {variables} variables\b.*; published: \S", line)
    page = (REPOSITORY / "docs/zoo.md").read_text(encoding="utf-8")
    assert f"| `{name}` | {count:,} | {variables} |" in page


LABELS = {"unet": (388, 388, 2), "dcgan_generator": (32, 32, 3), "dcgan_discriminator": ()}


@pytest.mark.parametrize("name", ZOO)
def test_the_command_of_a_file_fits_its_network_and_its_data(name: str, empty_folder: Path) -> None:
    words = command(name)
    checked = load_checked([*words, "train.batch_size=2"])
    config, spec = checked.config, checked.spec
    assert spec.variables == spec_of(name).variables
    if config.data.source.kind == "arrays":
        (given,) = spec.inputs
        labels = np.zeros((10, *LABELS.get(name, ())), np.float32 if name in LABELS else np.int64)
        made = {given: np.zeros((10, *spec.inputs[given].shape), np.float32), "label": labels}
        for field, file in config.data.source.fields.items():
            np.save(empty_folder / file, made[field])
        assert load_dataset(config, spec).size("train") == 7


def drawn_inputs(spec: NetworkSpec) -> Values:
    draw = np.random.default_rng(1)
    return {name: draw.standard_normal((2, *item.shape), np.float32) for name, item in spec.inputs.items()}


def constants(arrays: Values) -> dict[str, Any]:
    return {name: tf.constant(array, name=name) for name, array in arrays.items()}


@pytest.mark.parametrize("name", sorted(ZOO.keys() - set(published.__all__)))
def test_a_network_answers_each_example_with_numbers_of_its_own(name: str) -> None:
    spec = spec_of(name, *SMALLER.get(name, []))
    with tf.Graph().as_default(), tf.Session() as session:
        outputs = connect(spec, create_variables(spec, 0), constants(drawn_inputs(spec))).outputs
        session.run(tf.global_variables_initializer())
        got = session.run(outputs["logits"])
    assert got.shape == (2, *ANSWERS.get(name, (1000,)))
    assert np.isfinite(got).all()
    assert np.abs(got[0] - got[1]).max() > 1e-3 * np.abs(got).max() > 0


def drawn_values(shapes: dict[str, tuple[int, ...]]) -> Values:
    """Return random values for variables, none of which may be left out or taken for another without effect."""
    values = {}
    for seed, (name, shape) in enumerate(sorted(shapes.items())):
        draw = np.random.default_rng(seed)
        match name.rpartition("/")[2]:
            case "gamma" | "moving_variance":
                value = draw.uniform(0.5, 1.5, shape)
            case "beta" | "biases" | "moving_mean":
                value = draw.normal(0.0, 0.3, shape)
            case ending:
                fan_in = np.prod(shape[:2]) if ending == "depthwise_weights" else np.prod(shape[:-1])
                value = draw.standard_normal(shape, np.float32) * np.sqrt(2 / fan_in)
        values[name] = value.astype(np.float32)
    return values


@pytest.mark.parametrize("name", published.__all__)
def test_a_network_computes_what_a_plain_program_does_with_its_variables(name: str) -> None:
    spec = spec_of(name, *SMALLER.get(name, []))
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = constants(drawn_inputs(spec))
        plain = getattr(published, name)(inputs["image"])
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        shapes = {made: tuple(variable.shape.as_list()) for made, variable in variables.items()}
        assert shapes == {made: variable.shape for made, variable in spec.variables.items()}
        with tf.name_scope("described"):
            described = connect(spec, variables, inputs).outputs
        values = {variables[made].initializer.inputs[1]: value for made, value in drawn_values(shapes).items()}
        session.run([variable.initializer for variable in variables.values()], values)
        expected, got = session.run([plain, dict(described)])
    assert got.keys() == expected.keys()
    for output, array in expected.items():
        size = np.abs(array).max()
        assert np.abs(got[output] - array).max() < 1e-5 * size, output
        assert np.abs(array[0] - array[1]).max() > 1e-3 * size, output

"""TensorFlow as the oracle of names: what the description lists is what each graph has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.writer import write_values
from expkit.cli.names import table
from expkit.config.load import load
from expkit.config.schema import Config
from expkit.config.search import builtin_conf
from expkit.data.dataset import Dataset
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.ema_variables import create_ema_variables
from expkit.network.spec import NetworkSpec
from expkit.preflight import check
from expkit.registry import kinds
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.inference import infer_graph
from expkit.training.penalty import penalty
from expkit.training.sessions import Executor
from support.experiments import CNN, checkpoint_values, config_of, loaded
from support.networks import spec_of

pytestmark = pytest.mark.untraced

GOLDEN = Path(__file__).parents[1] / "golden"
EXPERIMENTS = sorted(file.stem for file in (builtin_conf() / "experiment").glob("*.yaml"))
OPTIMIZERS = sorted(kinds("optimizer"))


def zeros_for(config: Config, spec: NetworkSpec) -> Dataset:
    """Return data of zeros that fits a network."""
    size = config.train.batch_size
    shapes = {
        name: [3 if length is None else length for length in item.shape] for name, item in spec.trained.inputs.items()
    }
    fields = {name: np.zeros((size, *shape), spec.inputs[name].dtype) for name, shape in shapes.items()}
    positions = {"ptb": [3], "seq2seq": [9]}.get(config.run.name, [])
    labels = "target" if config.run.name == "seq2seq" else "label"
    extra = {"labeled": np.ones(size, bool)} if config.run.name == "mean_teacher" else {}
    splits = {"train": {**fields, labels: np.zeros((size, *positions), np.int64), **extra}}
    return Dataset(splits=splits, digest="", kind="zeros")


@pytest.fixture(scope="module", params=EXPERIMENTS)
def built(request: pytest.FixtureRequest) -> tuple[str, Config, NetworkSpec, dict[str, Any]]:
    """Return a built-in experiment and its graphs by mode."""
    config = load([f"experiment={request.param}"])
    checked = check(config)
    spec = checked.spec
    data = zeros_for(config, spec)
    graphs = {
        "train": train_graph(checked, data).graph,
        "evaluate": evaluate_graph(checked, data).graph,
        "infer": infer_graph(spec, {}).graph,
    }
    return request.param, config, spec, graphs


def global_variables(graph: Any) -> dict[str, tuple[int, ...]]:
    with graph.as_default():
        return {variable.op.name: tuple(variable.shape.as_list()) for variable in tf.global_variables()}


def listed_names(lines: list[str]) -> set[str]:
    """Return the names of saved variables among the lines that ``expkit names`` prints."""
    names = {line.split()[0] for line in lines[1 : lines.index("")]}
    heading = ""
    for line in lines[lines.index("") :]:
        if line.startswith("  ") and not heading.startswith(("inputs", "outputs")):
            names.add(line.split()[0])
        elif not line.startswith("  "):
            heading = line
    return names


@pytest.mark.parametrize("mode", ["train", "evaluate", "infer"])
def test_every_graph_has_the_variables_of_the_description(built: Any, mode: str) -> None:
    _, _, spec, graphs = built
    made, spec = global_variables(graphs[mode]), spec.served if mode == "infer" else spec.trained
    assert {name: made.get(name) for name in spec.variables} == {
        name: variable.shape for name, variable in spec.variables.items()
    }
    if mode == "infer":
        assert set(made) == set(spec.variables)


@pytest.mark.parametrize(("mode", "prefix"), [("evaluate", "raw/"), ("evaluate", "ema/"), ("infer", "")])
def test_output_tensors_are_named_by_the_paths_of_layers(built: Any, mode: str, prefix: str) -> None:
    _, _, spec, graphs = built
    spec = spec.served if mode == "infer" else spec.trained
    for layer in spec.layers:
        for output, expected in layer.outputs.items():
            tensor = graphs[mode].get_tensor_by_name(f"{prefix}{layer.tensor(output)}:0")
            assert tuple(tensor.shape.as_list()[1:]) == expected.shape
            assert tensor.dtype.name == expected.dtype
    for name in spec.outputs:
        assert graphs[mode].get_tensor_by_name(f"{prefix}{name}:0").shape[1:] == spec.output_spec(name).shape


def test_names_prints_what_the_training_graph_saves(built: Any) -> None:
    _, config, _, graphs = built
    assert listed_names(table(check(config))) == set(global_variables(graphs["train"]))


def test_saved_names_and_shapes_are_those_promised(built: Any) -> None:
    name, _, _, graphs = built
    lines = sorted(f"{variable} {list(shape)}" for variable, shape in global_variables(graphs["train"]).items())
    assert "\n".join(lines) + "\n" == (GOLDEN / "variables" / f"{name}.txt").read_text()


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("averages", [True, False])
def test_a_checkpoint_holds_what_names_prints_for_every_optimizer(tmp_path: Path, kind: str, averages: bool) -> None:
    optimizer = {"kind": kind, "learning_rate": 0.1}
    config = config_of(tmp_path, network=CNN, optimizer=optimizer, ema={"enabled": averages})
    checked, data = loaded(config)
    with Executor(train_graph(checked, data)) as executor:
        executor.initialize()
        write_values(str(tmp_path / "model"), executor.values(executor.names))
    assert set(checkpoint_values(tmp_path / "model")) == listed_names(table(check(config)))


SIAMESE = """
inputs: {left: {shape: [3]}, right: {shape: [3]}}
layers:
  left_tower: {kind: dense, input: left, scope: tower, units: 2, activation: tanh}
  right_tower: {kind: dense, input: right, scope: tower, units: 2, activation: tanh, reuse: true}
  out: {kind: multiply, input: [left_tower, right_tower]}
"""


def test_gradient_of_a_shared_variable_is_the_sum_over_both_towers() -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(size=(2, 7, 3)).astype(np.float32)
    kernel, bias = draw.normal(size=(3, 2)).astype(np.float32), draw.normal(size=2).astype(np.float32)
    spec = spec_of(SIAMESE)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = create_variables(spec, 0)
        out = connect(spec, variables, {"left": tf.constant(left), "right": tf.constant(right)}).outputs["out"]
        shared = tf.gradients(tf.reduce_sum(tf.square(out)), [variables["tower/kernel"], variables["tower/bias"]])
        feed = {variables[f"tower/{name}"].initializer.inputs[1]: v for name, v in (("kernel", kernel), ("bias", bias))}
        session.run(tf.global_variables_initializer(), feed)
        got = session.run(shared)
    with tf.Graph().as_default(), tf.Session() as session:
        kernels = [tf.constant(kernel), tf.constant(kernel)]
        biases = [tf.constant(bias), tf.constant(bias)]
        towers = [tf.tanh(tf.matmul(x, k) + b) for x, k, b in zip((left, right), kernels, biases, strict=True)]
        separate = tf.gradients(tf.reduce_sum(tf.square(towers[0] * towers[1])), [*kernels, *biases])
        of_left_kernel, of_right_kernel, of_left_bias, of_right_bias = session.run(separate)
    np.testing.assert_allclose(got[0], of_left_kernel + of_right_kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], of_left_bias + of_right_bias, rtol=1e-5, atol=1e-6)
    assert np.abs(of_left_kernel - of_right_kernel).max() > 0.1, "both towers must contribute, each its own"


def test_a_shared_variable_is_created_once_for_both_towers() -> None:
    spec = spec_of(SIAMESE)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        connect(spec, create_variables(spec, 0), placeholders(spec))
        session.run(tf.global_variables_initializer())
        assert sorted(global_variables(graph)) == ["tower/bias", "tower/kernel"]
        same = np.ones((1, 3), np.float32)
        towers = session.run(["left_tower:0", "right_tower:0"], {"left:0": same, "right:0": same})
    np.testing.assert_array_equal(towers[0], towers[1])


def test_a_variable_is_reached_by_its_full_name_from_the_root() -> None:
    spec = spec_of(
        """
        layers:
          foo: {kind: scope, layers: {bar: {kind: dense, units: 4, use_bias: false, variables: {kernel: v}}}}
          again: {kind: dense, units: 4, scope: "", use_bias: false, variables: {kernel: foo/bar/v}, reuse: true}
          rooted: {kind: scope, scope: other, layers: {same: {kind: dense, scope: /foo/bar, units: 4, use_bias: false,
                   variables: {kernel: v}, reuse: true}}}
        """
    )
    with tf.Graph().as_default() as graph:
        create_variables(spec, 0)
        assert global_variables(graph) == {"foo/bar/v": (4, 4)}


def test_connecting_inside_a_name_scope_prefixes_tensors_and_no_variables() -> None:
    spec = spec_of("layers: {a: {kind: dense, units: 2}, b: {kind: dense, units: 1}}")
    with tf.Graph().as_default() as graph:
        variables = create_variables(spec, 0)
        with tf.name_scope("raw"):
            outputs = connect(spec, variables, placeholders(spec)).outputs
        assert outputs["out"].name == "raw/out:0"
        assert graph.get_tensor_by_name("raw/a:0").shape.as_list() == [None, 2]
        assert list(global_variables(graph)) == ["a/kernel", "a/bias", "b/kernel", "b/bias"]


def test_ema_variables_replace_averaged_variables_only() -> None:
    spec = spec_of("layers: {a: {kind: dense, units: 2}}")
    with tf.Graph().as_default():
        variables = create_variables(spec, 0)
        ema = create_ema_variables(variables, ["a/kernel"])
        assert ema["a/kernel"].op.name == "a/kernel/ExponentialMovingAverage"
        assert ema["a/kernel"].shape == variables["a/kernel"].shape
        assert ema["a/bias"] is variables["a/bias"]
        assert tf.trainable_variables() == list(variables.values())


def test_rules_and_layers_decide_what_is_trainable_in_tensorflow_too() -> None:
    spec = spec_of(
        """
        rules: {frozen: {variables: b/.*, trainable: false}}
        layers: {a: {kind: dense, units: 2, trainable: false}, b: {kind: dense, units: 2}, c: {kind: dense, units: 2}}
        """
    )
    with tf.Graph().as_default():
        create_variables(spec, 0)
        assert [v.op.name for v in tf.trainable_variables()] == ["c/kernel", "c/bias"]


def test_penalty_is_the_sum_of_every_regularizer() -> None:
    spec = spec_of(
        """
        rules: {l2: {variables: b/.*, regularizer: {l2: 0.5}}}
        layers:
          a: {kind: dense, units: 2, regularizer: {kernel: {l1: 0.1, l2: 0.01}}, initializer: {bias: {kind: ones}}}
          b: {kind: dense, units: 3, initializer: {bias: {kind: constant, value: -2.0}}}
        """
    )
    with tf.Graph().as_default(), tf.Session() as session:
        variables = create_variables(spec, 0)
        total = penalty(spec, variables)
        session.run(tf.global_variables_initializer())
        got, values = session.run([total, variables])
    a, b = values["a/kernel"].astype(np.float64), values["b/kernel"].astype(np.float64)
    expected = 0.1 * np.abs(a).sum() + 0.01 * (a**2).sum() + 0.5 * ((b**2).sum() + 3 * 4)
    assert got == pytest.approx(expected, rel=1e-6)


def test_penalty_of_nothing_is_zero() -> None:
    spec = spec_of("layers: {a: {kind: dense, units: 2}}")
    with tf.Graph().as_default(), tf.Session() as session:
        assert session.run(penalty(spec, create_variables(spec, 0))) == 0


def test_a_word_inside_a_scope_may_begin_with_an_underscore_in_tensorflow_too() -> None:
    inner = {"_proj": {"kind": "dense", "units": 3}, "b": {"kind": "dense", "units": 2, "scope": "_x"}}
    scope = {"kind": "scope", "layers": inner, "outputs": {"_more": "_proj"}}
    spec = spec_of({"layers": {"enc": scope, "c": {"kind": "dense", "units": 2, "scope": "/enc/_q"}}})
    with tf.Graph().as_default() as graph:
        connect(spec, create_variables(spec, 0), placeholders(spec))
        assert [variable.op.name for variable in tf.global_variables()] == [*spec.variables]
        assert graph.get_tensor_by_name("enc/_proj:0").shape[-1] == 3

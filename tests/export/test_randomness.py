"""Graphs that draw random numbers: refused where an output depends on them, before anything is converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expkit import tf1 as tf
from expkit.errors import ExportError
from expkit.export.doors import open_door
from expkit.export.exporter import export
from expkit.export.freeze import read_frozen
from expkit.export.operations import PURE, RANDOM
from expkit.export.randomness import randomness_problems
from expkit.export.targets.base import ExportOptions, ExportSource, target


def noise(x: Any) -> Any:
    with tf.name_scope("noisy/drop"):
        return tf.add(x, tf.random_uniform(tf.shape(x), seed=1))


def noise_in_a_loop(x: Any) -> Any:
    function = tf.function(lambda a: a + tf.random_normal((3,)), autograph=False)
    return function(x)


def dropout_that_keeps_everything(x: Any) -> Any:
    return x * tf.floor(1.0 + tf.random_uniform(tf.shape(x)))


def source_of(folder: Path, build: Callable[[Any], Any]) -> ExportSource:
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float32, (None, 3), name="x")), name="y")
        tf.add(graph.get_tensor_by_name("x:0"), tf.random_uniform((3,)), name="training")
    file = folder / "graph.pb"
    file.write_bytes(graph.as_graph_def().SerializeToString())
    return ExportSource(file=file, frozen=read_frozen(file, fetch=["y"]))


def test_an_output_that_depends_on_random_numbers_is_refused_with_what_draws_them(tmp_path: Path) -> None:
    source = source_of(tmp_path, noise)
    with pytest.raises(ExportError) as caught:
        export(source, [target("savedmodel"), target("tflite")], ExportOptions(), tmp_path / "out")
    assert [str(problem) for problem in caught.value.problems] == [
        "export: the outputs depend on random numbers, so nothing can be compared: RandomUniform "
        "'noisy/drop/random_uniform/RandomUniform' of layer 'noisy/drop/random_uniform'; give the numbers as an "
        "input, or freeze the graph as it predicts, without dropout and noise"
    ]
    assert not (tmp_path / "out").exists()


def test_random_numbers_of_a_function_are_found(tmp_path: Path) -> None:
    source = source_of(tmp_path, noise_in_a_loop)
    (problem,) = randomness_problems(source, open_door(source.frozen, "raw"))
    assert "RandomStandardNormal 'random_normal/RandomStandardNormal'" in problem.message


def test_random_numbers_that_change_no_output_are_allowed(tmp_path: Path) -> None:
    source = source_of(tmp_path, dropout_that_keeps_everything)
    door = open_door(source.frozen, "raw")
    assert "RandomUniform" in {node.op for node in door.graph_def.node}
    assert randomness_problems(source, door) == []


def test_what_draws_random_numbers_is_known_and_draws_without_a_state_of_its_own_are_not_among_it() -> None:
    assert {"RandomUniform", "RandomStandardNormal", "TruncatedNormal", "Multinomial", "RandomShuffle"} <= RANDOM
    assert RANDOM < PURE
    assert not any(name.startswith("Stateless") for name in RANDOM)

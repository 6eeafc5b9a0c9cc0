"""One training step: gradients, moving statistics, the optimizer, averages, and the statistics that are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.batches import standardized
from expkit.data.dataset import Scaling
from expkit.errors import ConfigError, Problem, comma_list
from expkit.network.build import Connection, TrainingCall, connect, penalty
from expkit.network.spec import NetworkSpec
from expkit.training.execution import Execution
from expkit.training.policy import TrainedLayers
from expkit.training.update import update_variables

__all__ = ["Before", "Done", "Sums", "add_wide", "judged", "network_inputs", "no_sums", "one_step", "what_moves"]

STATISTICS = ""
"""Stands for all moving statistics where trained variables have their names."""

Sums = Mapping[str, Mapping[str, Any]]
"""Statistics by metric name (``loss`` among them): tensors in a graph, arrays outside."""


@dataclass(frozen=True)
class Before:
    """What there is of the step before when this one begins, which may be while that one goes on."""

    all: Sequence[Any]
    """Tensors that are there when it is done."""
    moved: Mapping[str, Any]
    """Tensors that are there when what ``what_moves`` names has moved; empty where all is done anyway."""


@dataclass(frozen=True)
class Done:
    """One step: operations, and the statistics of its batches."""

    all: Any
    """The operation that does the step."""
    moved: Mapping[str, Any]
    """Operations after which what ``what_moves`` names has moved."""
    sums: Sums


def what_moves(spec: NetworkSpec) -> tuple[str, ...]:
    """Return what a step moves each in its time: trained variables, by name, and ``STATISTICS`` if there may be any."""
    return (*spec.trainable, *([STATISTICS] if set(spec.variables) - set(spec.trainable) else []))


def one_step(
    config: Config,
    spec: NetworkSpec,
    variables: Mapping[str, Any],
    batch: Mapping[str, Any],
    scaling: Mapping[str, Scaling],
    step: Any,
    execution: Execution,
    rate_factor: Any | None,
    before: Before,
) -> Done:
    """Return what does one step.

    A layer waits for nothing of the step before but that its own variables have moved; what changes variables waits for
    all of it. So cores that the end of a step leaves idle begin the next, and no number depends on that.

    The learning rate is multiplied by ``rate_factor``, a float32 scalar, where there is one.
    """
    trainable = set(spec.trainable)
    after = {name: before.moved[name if name in trainable else STATISTICS] for name in spec.variables if before.moved}
    trained = {name: variables[name] for name in spec.trainable}
    count = config.train.gradient_accumulation_steps

    def gradients_of(part: Mapping[str, Any], draw: Any) -> tuple[list[Any], Sums, Any]:
        inputs, training = network_inputs(spec, part, scaling), TrainingCall(config.run.seed, draw)
        policy = partial(TrainedLayers, execution, execution.shards(config.train.batch_size), after)
        connection = connect(spec, variables, inputs, training=training, policy=policy)
        with tf.control_dependencies(list(after.values())):
            regularization = penalty(spec, variables)
        loss, sums = judged(config, connection.outputs, part, regularization)
        gradients = _gradients(loss, trained)
        # Nothing that is read may have moved; but a variable need not wait for the gradients of others.
        with tf.control_dependencies(_readers()):
            statistics = _move_statistics(connection)
            with tf.control_dependencies([statistics]):
                return [tf.identity(gradient) for gradient in gradients], sums, statistics

    if count == 1:
        gradients, sums, statistics = gradients_of(batch, step)
    else:
        parts = {name: tf.reshape(rows, (count, -1, *rows.shape[1:])) for name, rows in batch.items()}

        def accumulate(place: Any, gradients: list[Any], sums: Sums) -> Any:
            part = {name: rows[place] for name, rows in parts.items()}
            more, counted, _ = gradients_of(part, step * count + tf.cast(place, tf.int64))
            added = [total + tf.convert_to_tensor(one) / count for total, one in zip(gradients, more, strict=True)]
            return place + 1, added, tf.nest.map_structure(add_wide, sums, counted)

        zeros = [tf.zeros(variable.shape, variable.dtype.base_dtype) for variable in trained.values()]
        _, gradients, sums = tf.while_loop(
            lambda place, *_: place < count,
            accumulate,
            (tf.constant(0), zeros, no_sums(config)),
            parallel_iterations=1,
        )
        statistics = gradients[0].op

    with tf.control_dependencies(before.all):
        done, moved = update_variables(
            config, spec, variables, dict(zip(trained, gradients, strict=True)), step, execution, rate_factor
        )
    return Done(done, {**moved, STATISTICS: statistics}, sums)


def network_inputs(spec: NetworkSpec, fields: Mapping[str, Any], scaling: Mapping[str, Scaling]) -> dict[str, Any]:
    """Return what the network reads of the fields of the data: cast to its inputs' types, and standardized."""
    inputs = {name: tf.cast(fields[name], item.dtype) for name, item in spec.inputs.items()}
    return standardized(inputs, scaling) if scaling else inputs


def judged(
    config: Config, outputs: Mapping[str, Any], fields: Mapping[str, Any], regularization: Any
) -> tuple[Any, Sums]:
    """Return the loss to make small, and the statistics of ``loss``, of every loss if several, and of metrics."""
    sums: dict[str, Mapping[str, Any]] = {}
    total = regularization
    with tf.name_scope("losses"):
        for name, loss in config.train.losses.items():
            per_example = loss.per_example(outputs[loss.output], fields[loss.labels])
            count = tf.cast(tf.size(per_example), tf.float32)
            total = total + loss.weight * tf.reduce_mean(per_example)
            if len(config.train.losses) > 1:
                sums[f"loss/{name}"] = {"sum": tf.reduce_sum(per_example), "count": count}
        sums["loss"] = {"sum": total * count, "count": count}
    with tf.name_scope("metrics"):
        for name, metric in config.train.metrics.items():
            sums[name] = metric.statistics(outputs[metric.output], fields[metric.labels])
    return total, sums


def add_wide(total: Any, more: Any) -> Any:
    """Add float32 to a float64 total, which loses nothing: the sum does not depend on how steps fall into calls."""
    return total + tf.cast(more, tf.float64)


def no_sums(config: Config) -> Sums:
    """Return float64 zeros in the shape of ``judged``'s statistics."""
    names = [f"loss/{name}" for name in config.train.losses] if len(config.train.losses) > 1 else []
    shapes: dict[str, Mapping[str, tuple[int, ...]]] = {name: {"sum": (), "count": ()} for name in (*names, "loss")}
    shapes |= {name: metric.statistic_shapes for name, metric in config.train.metrics.items()}
    return {name: {key: tf.zeros(shape, tf.float64) for key, shape in parts.items()} for name, parts in shapes.items()}


def _gradients(loss: Any, trained: Mapping[str, Any]) -> list[Any]:
    """Return the gradient of every trained variable."""
    if not trained:
        raise ConfigError(
            Problem("network.layers", "no variable is trainable; train.steps=0 evaluates without training")
        )
    gradients = tf.gradients(loss, list(trained.values()))
    if unreached := [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]:
        raise ConfigError(
            Problem(
                "train.losses",
                f"no loss depends on {comma_list(unreached)}; set trainable: false on the layers or remove them",
            )
        )
    return list(gradients)


def _readers() -> list[Any]:
    """Return the operations made so far that may read a variable."""
    operations = tf.get_default_graph().get_operations()
    return [operation for operation in operations if any(tensor.dtype == tf.resource for tensor in operation.inputs)]


def _move_statistics(connection: Connection) -> Any:
    """Return the operation that moves batch statistics, one after the other, so that shared ones move in order."""
    done = tf.no_op()
    for update in connection.updates:
        with tf.control_dependencies([done]):
            difference = (update.variable.read_value() - update.value) * (1 - update.momentum)
            done = update.variable.assign_sub(difference, read_value=False)
    return done

"""One training step: gradients, moving statistics, the optimizer, EMA, and the statistics that are reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.batches import standardized
from expkit.data.scaling import Scaling
from expkit.errors import ConfigError, Problem, comma_list
from expkit.kinds.evaluated import Evaluated, Readable
from expkit.kinds.layers.base import Call
from expkit.kinds.losses import mean_per_example
from expkit.kinds.metrics import ROWS
from expkit.kinds.precision import widened
from expkit.metric_names import LOSS, loss_names
from expkit.network.build import Connection, TrainingCall, connect, penalty
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig
from expkit.tensor_spec import Shape
from expkit.training.execution import Execution
from expkit.training.policy import TrainedLayers
from expkit.training.update import Gradients, update_variables, with_rows

__all__ = [
    "Objective",
    "PreviousStep",
    "Statistics",
    "StepResult",
    "StepSetup",
    "add_batch",
    "loss_and_statistics",
    "network_inputs",
    "train_step",
    "update_groups",
    "zero_statistics",
]

MOVING_STATISTICS = ""
"""Stands for all moving statistics where trainable variables have their names."""

Statistics = Mapping[str, Mapping[str, Any]]
"""Statistics by metric name (``loss`` among them): tensors in a graph, arrays outside."""


@dataclass(frozen=True, kw_only=True)
class StepSetup:
    """The inputs that all training steps of a graph share."""

    checked: CheckedConfig
    variables: Mapping[str, Any]
    """The network's, by name."""
    scaling: Mapping[str, Scaling]
    """Mean and standard deviation of inputs that are standardized."""
    execution: Execution
    rate_factor: Any | None
    """float32 scalar that multiplies the learning rate, if any."""


@dataclass(frozen=True)
class PreviousStep:
    """Tensors of the previous step, which may still be running when the next begins."""

    finished: Sequence[Any]
    """Tensors that exist once it has ended."""
    updated: Mapping[str, Any]
    """By update group: a tensor that exists once it has updated the group; empty where steps do not overlap."""


@dataclass(frozen=True)
class StepResult:
    """Operations of one step, and the statistics of its batches."""

    operation: Any
    """Does the step."""
    updates: Mapping[str, Any]
    """By update group: the operation that updates it."""
    statistics: Statistics


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What training minimizes on a batch, and the statistics that are reported of it."""

    total: Any
    """float32: the sum of the terms and the regularizers."""
    means: Mapping[str, Any]
    """float32 mean of every loss, by name."""
    terms: Mapping[str, Any]
    """float32: every mean times the loss's weight, by name."""
    statistics: Statistics


def update_groups(spec: NetworkSpec) -> tuple[str, ...]:
    """Return the groups whose update the next step may await separately.

    These are each trainable variable, by name, and ``MOVING_STATISTICS`` if there may be any.
    """
    return (*spec.trainable, *([MOVING_STATISTICS] if set(spec.variables) - set(spec.trainable) else []))


def train_step(setup: StepSetup, batch: Mapping[str, Any], step: Any, previous: PreviousStep) -> StepResult:
    """Build one training step.

    A layer awaits only the update of its own variables by the previous step; the updates of this step await its end. So
    cores that are idle at the end of a step begin the next, and no number depends on that.
    """
    config, spec = setup.checked.config, setup.checked.spec
    updated = _updated(spec, previous)
    trained = {name: setup.variables[name] for name in spec.trainable}
    count = config.train.gradient_accumulation_steps

    def gradients_of(batch: Mapping[str, Any], draw: Any) -> tuple[list[Any], Statistics, Any]:
        policy = partial(TrainedLayers, setup.execution, setup.execution.shards(config.train.batch_size), updated)
        inputs, training = network_inputs(spec, batch, setup.scaling), TrainingCall(config.run.seed, draw)
        connection = connect(spec, setup.variables, inputs, training=training, policy=policy)
        with tf.control_dependencies(list(updated.values())):
            regularization = penalty(spec, setup.variables)
        readable = Readable(
            outputs=connection.outputs, fields=batch, variables=_values(config, setup.variables, updated)
        )
        objective = loss_and_statistics(config, readable, regularization, training)
        gradients = _gradients(objective.total, trained)
        # No variable is updated before all have read it, but none awaits the gradients of others.
        with tf.control_dependencies(_readers()):
            moved = _move_statistics(connection)
            with tf.control_dependencies([moved]):
                return [tf.identity(gradient) for gradient in gradients], objective.statistics, moved

    rows_read: dict[str, Any] = {}
    if count == 1:
        gradients, statistics, moved = gradients_of(batch, step)
    else:
        micro_batches = {name: tf.reshape(rows, (count, -1, *rows.shape[1:])) for name, rows in batch.items()}

        sparse: set[int] = set()

        def accumulate(number: Any, gradients: list[Any], read: list[Any], statistics: Statistics) -> Any:
            micro_batch = {name: rows[number] for name, rows in micro_batches.items()}
            more, counted, _ = gradients_of(micro_batch, step * count + tf.cast(number, tf.int64))
            added = [total + tf.convert_to_tensor(one) / count for total, one in zip(gradients, more, strict=True)]
            sparse.update(index for index, one in enumerate(more) if isinstance(one, tf.IndexedSlices))
            read = [with_rows(rows, more[index]) if index in sparse else rows for index, rows in enumerate(read)]
            return number + 1, added, read, add_batch(statistics, counted, number * config.train.batch_size)

        zeros = [tf.zeros(variable.shape, variable.dtype.base_dtype) for variable in trained.values()]
        unread = [tf.zeros(variable.shape[:1], tf.bool) for variable in trained.values()]
        _, gradients, read, statistics = tf.while_loop(
            lambda number, *_: number < count,
            accumulate,
            (tf.constant(0), zeros, unread, zero_statistics(setup.checked, count * config.train.batch_size)),
            parallel_iterations=1,
        )
        moved = gradients[0].op
        rows_read = {name: read[index] for index, name in enumerate(trained) if index in sparse}

    with tf.control_dependencies(previous.finished):
        rate = config.optimizer.rate(step)
        if setup.rate_factor is not None:
            rate = rate * setup.rate_factor
        pairs = {name: (gradient, trained[name]) for name, gradient in zip(trained, gradients, strict=True)}
        operation, updates = update_variables(setup.checked, Gradients(pairs, rows_read), step, rate, setup.execution)
    return StepResult(operation, {**updates, MOVING_STATISTICS: moved}, statistics)


def _updated(spec: NetworkSpec, previous: PreviousStep) -> dict[str, Any]:
    """Return by variable a tensor that exists once the previous step has updated it; none if steps do not overlap."""
    trainable = set(spec.trainable)
    groups = {name: name if name in trainable else MOVING_STATISTICS for name in spec.variables}
    return {name: previous.updated[group] for name, group in groups.items()} if previous.updated else {}


def _values(config: Config, variables: Mapping[str, Any], updated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the variables that losses and metrics read, after their update by the previous step."""
    readers = config.train.readers.values()
    names = {name for reader in readers for name in reader.names(reader.reads_variables).values()}
    values = {}
    for name in sorted(names):
        with tf.control_dependencies([updated[name]] if name in updated else []):
            values[name] = variables[name].read_value()
    return values


def network_inputs(spec: NetworkSpec, fields: Mapping[str, Any], scaling: Mapping[str, Scaling]) -> dict[str, Any]:
    """Return the network's inputs from fields of the data: standardized, and cast to their dtypes."""
    inputs = {name: fields[name] for name in spec.inputs}
    inputs = standardized(inputs, scaling) if scaling else inputs
    return {name: tf.cast(inputs[name], item.dtype) for name, item in spec.inputs.items()}


def loss_and_statistics(
    config: Config, readable: Readable, regularization: Any, training: TrainingCall | None = None
) -> Objective:
    """Return the objective, and the statistics of ``loss``, of every loss if several, and of metrics.

    Args:
        config: losses and metrics.
        readable: outputs, fields and variables of a batch.
        regularization: sum of the regularizers.
        training: seed and step in training; ``None`` outside.
    """
    statistics: dict[str, Mapping[str, Any]] = {}
    means: dict[str, Any] = {}
    terms: dict[str, Any] = {}
    total, own_names = regularization, loss_names(config.train.losses)
    with tf.name_scope("losses"):
        for name, loss in config.train.losses.items():
            call = Call(training=False) if training is None else training.of(f"train.losses.{name}")
            values = loss.values(**_read(loss, readable), **({"call": call} if loss.draws else {}))
            per_example = tf.cast(mean_per_example(values) if values.shape.rank > 1 else values, tf.float32)
            count = tf.cast(tf.size(per_example), tf.float32)
            means[name] = tf.reduce_mean(per_example)
            terms[name] = loss.weight * means[name]
            total = total + terms[name]
            if name in own_names:
                statistics[own_names[name]] = {"sum": tf.reduce_sum(per_example), "count": count}
        statistics[LOSS] = {"sum": total * count, "count": count}
    with tf.name_scope("metrics"):
        for name, metric in config.train.metrics.items():
            statistics[name] = metric.statistics(**_read(metric, readable))
    return Objective(total=total, means=means, terms=terms, statistics=statistics)


def _read(item: Evaluated, readable: Readable) -> dict[str, Any]:
    """Return what a loss or metric reads, outputs in at least float32."""
    read = item.read(readable)
    return read | {field: widened(read[field]) for field in item.names(item.reads_outputs)}


def add_batch(totals: Statistics, batch: Statistics, first: Any) -> Statistics:
    """Return totals with the statistics of a batch added, and its rows at the index ``first``.

    float32 is added to a float64 total, exactly: the sum does not depend on how steps are grouped into calls.
    """

    def added(key: str, total: Any, more: Any) -> Any:
        more = tf.cast(more, total.dtype)
        if key != ROWS:
            return total + more
        return tf.tensor_scatter_nd_update(total, (first + tf.range(tf.shape(more)[0]))[:, None], more)

    return {
        name: {key: added(key, totals[name][key], more) for key, more in keys.items()} for name, keys in batch.items()
    }


def zero_statistics(checked: CheckedConfig, examples: Any) -> Statistics:
    """Return zeros in the shape of the statistics of ``loss_and_statistics``, in float64 but for rows.

    Args:
        checked: losses and metrics, and the network's outputs.
        examples: number of rows, which are zeros until ``add_batch`` gives them values.
    """
    train = checked.config.train
    names = (*loss_names(train.losses).values(), LOSS)
    shapes: dict[str, Mapping[str, Shape]] = {name: {"sum": (), "count": ()} for name in names}
    for name, metric in train.metrics.items():
        last = (checked.spec.output_spec(metric.output).shape or (1,))[-1]
        sized = metric.statistic_shapes.items()
        shapes[name] = {key: tuple(last if size is None else size for size in shape) for key, shape in sized}
    return {
        name: {
            key: tf.zeros((examples, *shape), tf.float32) if key == ROWS else tf.zeros(shape, tf.float64)
            for key, shape in keys.items()
        }
        for name, keys in shapes.items()
    }


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
    """Return the operations added so far that may read a variable."""
    operations = tf.get_default_graph().get_operations()
    return [operation for operation in operations if any(tensor.dtype == tf.resource for tensor in operation.inputs)]


def _move_statistics(connection: Connection) -> Any:
    """Return the operation that updates moving statistics, one after the other: shared ones keep their order."""
    done = tf.no_op()
    for update in connection.updates:
        with tf.control_dependencies([done]):
            difference = (update.variable.read_value() - update.value) * (1 - update.momentum)
            done = update.variable.assign_sub(difference, read_value=False)
    return done

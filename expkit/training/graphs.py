"""One explicit, finalized graph per mode: train, evaluate, infer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.dataset import Dataset, Scaling
from expkit.data.pipeline import Supply, block_steps, standardized, supply_resident, supply_streamed
from expkit.data.stream import Stream
from expkit.errors import ConfigError, Problem, listed
from expkit.network.build import Connection, connect, create_shadows, create_variables, penalty, placeholders
from expkit.network.names import shadow_name
from expkit.network.spec import NetworkSpec
from expkit.training.ema import averaged_names, moving_averages
from expkit.training.execution import PLAIN, Compiled, Execution
from expkit.training.multipliers import with_multipliers
from expkit.training.optimizers import Optimizer

__all__ = [
    "EvaluateGraph",
    "InferGraph",
    "Sums",
    "TrainGraph",
    "evaluate_graph",
    "infer_graph",
    "train_graph",
]

GLOBAL_STEP = "global_step"

Sums = Mapping[str, Mapping[str, Any]]
"""Statistics by metric name (``loss`` among them): tensors in a graph, arrays outside."""


@dataclass(frozen=True)
class TrainGraph:
    """The graph that trains: a step is a pure function of the variables and (seed, global_step)."""

    graph: Any
    execution: Execution
    """How steps are run; a block of batches may hold fewer of them than were asked for."""
    variables: Mapping[str, Any]
    """All that a checkpoint holds, by name: the network's, averages, slots, ``global_step``."""
    count: Any
    """Placeholder, int32: how many steps ``run`` does, at most ``steps_per_execution``."""
    run: Any
    """Operation that does steps."""
    sums: Sums
    """Statistics summed over the steps."""
    learning_rate: Any
    saver: Any
    supply: Supply
    open_stream: Callable[[], Stream] | None
    """Opens what prepares the blocks that a call is fed; ``None`` where the session holds the training examples."""


@dataclass(frozen=True)
class EvaluateGraph:
    """The graph that judges: raw and averaged network on the same batch, side by side."""

    graph: Any
    variables: Mapping[str, Any]
    """The network's variables and averages, by name."""
    fields: Mapping[str, Any]
    """Placeholders by field of the data: inputs and labels."""
    outputs: Mapping[str, Mapping[str, Any]]
    """Output tensors of all examples fed, by weights (``raw``, ``ema`` where averages are kept) and output name."""
    sums: Mapping[str, Sums]
    """Statistics by weights, of all examples fed: a loop goes from batch to batch."""


@dataclass(frozen=True)
class InferGraph:
    """The graph that answers: placeholders in, outputs out."""

    graph: Any
    variables: Mapping[str, Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    meta_graph: bytes
    """Serialized ``MetaGraphDef``, placeholders and a saver for the variables; ``import_meta_graph`` needs no more."""


def train_graph(config: Config, spec: NetworkSpec, dataset: Dataset, execution: Execution = PLAIN) -> TrainGraph:
    """Build the graph that trains; its session holds the training examples, or is fed blocks of them.

    The order within a step: gradients, moving statistics, clipping, weight decay, optimizer, averages. The steps of one
    execution are the iterations of a loop in the graph, which XLA may compile; their batches are gathered before it.
    """
    train, seed = dataset.parts["train"], config.run.seed
    rows = config.train.batch_size * config.train.gradient_accumulation_steps
    most = block_steps(train, execution.steps_per_execution, rows)
    streamed = dataset.placement == "streamed"
    graph = tf.Graph()
    with graph.as_default():
        variables = create_variables(spec, seed)
        global_step = tf.train.get_or_create_global_step()
        count = tf.placeholder(tf.int32, (), name="count")
        first = tf.identity(global_step.read_value(), name="step")
        supply = supply_streamed(train, most, rows) if streamed else supply_resident(train, first, most, rows, seed)

        def steps(first: Any, begin: Any, block: Any, count: Any) -> Any:
            def body(done_steps: Any, totals: Any) -> Any:
                step = first + tf.cast(done_steps, tf.int64)
                batch = {name: batches[begin + done_steps] for name, batches in block.items()}
                done, sums = _step(config, spec, variables, batch, dataset.scaling, step, execution.jit_compile)
                with tf.control_dependencies([done]):
                    return done_steps + 1, tf.nest.map_structure(_add, totals, sums)

            return tf.while_loop(
                lambda done_steps, totals: done_steps < count,
                body,
                (tf.constant(0), _no_sums(config)),
                parallel_iterations=1,
            )[1]

        sums = (_compiled(steps) if execution.jit_compile is True else steps)(first, supply.begin, supply.block, count)
        with tf.control_dependencies(tf.nest.flatten(sums)):
            done = global_step.assign_add(tf.cast(count, tf.int64), read_value=False)
        saved = {variable.op.name: variable for variable in tf.global_variables()}
        assert set(variables) <= set(saved), "every variable of the network is saved"
        assert {shadow_name(name) for name in averaged_names(config.ema, spec)} <= set(saved)
        saver = tf.train.Saver(saved, max_to_keep=None)
        tf.group([variable.initializer for variable in saved.values()], name="initialize")
        rate = config.optimizer.rate(first)
    graph.finalize()
    opened = partial(Stream, train, most, rows, seed) if streamed else None
    execution = replace(execution, steps_per_execution=most)
    return TrainGraph(graph, execution, saved, count, done, sums, rate, saver, supply, opened)


def _step(
    config: Config,
    spec: NetworkSpec,
    variables: Mapping[str, Any],
    batch: Mapping[str, Any],
    scaling: Mapping[str, Scaling],
    step: Any,
    compiled: Compiled,
) -> tuple[Any, Sums]:
    """Return the operation that does one step, and the statistics of its batches.

    XLA compiles what follows the gradients where ``compiled`` is ``update``: it makes fewer passes over the variables
    than TensorFlow's operations do one by one.
    """
    trained = {name: variables[name] for name in spec.trainable}
    count = config.train.gradient_accumulation_steps

    def gradients_of(part: Mapping[str, Any], draw: Any) -> tuple[list[Any], Sums]:
        inputs = _network_inputs(spec, part, scaling)
        connection = connect(spec, variables, inputs, training=True, seed=config.run.seed, step=draw)
        loss, sums = _judged(config, connection.outputs, part, penalty(spec, variables))
        gradients = _gradients(loss, trained)
        with tf.control_dependencies(gradients), tf.control_dependencies([_move_statistics(connection)]):
            return [tf.identity(gradient) for gradient in gradients], sums

    if count == 1:
        gradients, sums = gradients_of(batch, step)
    else:
        parts = {name: tf.reshape(rows, (count, -1, *rows.shape[1:])) for name, rows in batch.items()}

        def accumulate(place: Any, gradients: list[Any], sums: Sums) -> Any:
            part = {name: rows[place] for name, rows in parts.items()}
            more, counted = gradients_of(part, step * count + tf.cast(place, tf.int64))
            added = [total + tf.convert_to_tensor(one) / count for total, one in zip(gradients, more, strict=True)]
            return place + 1, added, tf.nest.map_structure(_add, sums, counted)

        zeros = [tf.zeros(variable.shape, variable.dtype.base_dtype) for variable in trained.values()]
        _, gradients, sums = tf.while_loop(
            lambda place, *_: place < count,
            accumulate,
            (tf.constant(0), zeros, _no_sums(config)),
            parallel_iterations=1,
        )

    def update(gradients: list[Any], step: Any) -> Any:
        if config.optimizer.global_clipnorm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, config.optimizer.global_clipnorm)
        rate, times = config.optimizer.rate(step), spec.learning_rate_multipliers
        done = _apply(config.optimizer, rate, list(zip(gradients, trained.values(), strict=True)), times)
        if names := averaged_names(config.ema, spec):
            with tf.control_dependencies([done]):
                done = moving_averages(config.ema, variables, names, step)
        with tf.control_dependencies([done]):
            return tf.identity(step)

    return (_compiled(update) if compiled == "update" else update)(gradients, step), sums


def _compiled(function: Callable[..., Any]) -> Any:
    return tf.function(function, jit_compile=True, autograph=False)


def evaluate_graph(config: Config, spec: NetworkSpec, dataset: Dataset) -> EvaluateGraph:
    """Build the graph that judges; averages are variables of their own, so nothing is ever swapped."""
    graph = tf.Graph()
    with graph.as_default():
        variables = create_variables(spec, config.run.seed)
        averaged = averaged_names(config.ema, spec)
        shadows = create_shadows(variables, averaged)
        fields = placeholders(spec)
        for name, array in dataset.parts["train"].items():
            if name not in fields:
                fields[name] = tf.placeholder(array.dtype, (None, *array.shape[1:]), name=f"labels/{name}")
        every = {"raw": variables, "ema": shadows} if averaged else {"raw": variables}

        def connected(batch: Mapping[str, Any], weights: str) -> Mapping[str, Any]:
            with tf.name_scope(weights):
                return connect(spec, every[weights], _network_inputs(spec, batch, dataset.scaling)).outputs

        outputs = {weights: connected(fields, weights) for weights in every}
        size, total = config.train.evaluation_batch_size, tf.shape(next(iter(fields.values())))[0]

        def body(start: Any, totals: Mapping[str, Sums]) -> Any:
            batch = {name: field[start : start + size] for name, field in fields.items()}
            more = {
                weights: _judged(config, connected(batch, weights), batch, penalty(spec, values))[1]
                for weights, values in every.items()
            }
            return start + size, tf.nest.map_structure(_add, totals, more)

        sums = tf.while_loop(
            lambda start, totals: start < total,
            body,
            (tf.constant(0), {weights: _no_sums(config) for weights in every}),
            parallel_iterations=1,
        )[1]
        saved = {variable.op.name: variable for variable in tf.global_variables()}
    graph.finalize()
    return EvaluateGraph(graph, saved, fields, outputs, sums)


def infer_graph(spec: NetworkSpec, scaling: Mapping[str, Scaling]) -> InferGraph:
    """Build the graph that answers; it reads the network's variables by their own names."""
    graph = tf.Graph()
    with graph.as_default():
        variables = create_variables(spec, seed=0)
        inputs = placeholders(spec)
        connection = connect(spec, variables, standardized(inputs, scaling) if scaling else inputs)
        saver = tf.train.Saver(variables, max_to_keep=None).as_saver_def() if variables else None
        meta = tf.train.export_meta_graph(saver_def=saver, clear_devices=True, strip_default_attrs=True)
    graph.finalize()
    return InferGraph(graph, variables, inputs, connection.outputs, bytes(meta.SerializeToString()))


def _network_inputs(spec: NetworkSpec, fields: Mapping[str, Any], scaling: Mapping[str, Scaling]) -> dict[str, Any]:
    inputs = {name: tf.cast(fields[name], item.dtype) for name, item in spec.inputs.items()}
    return standardized(inputs, scaling) if scaling else inputs


def _judged(
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


def _add(total: Any, more: Any) -> Any:
    """Add float32 to a float64 total, which loses nothing: the sum does not depend on how steps fall into calls."""
    return total + tf.cast(more, tf.float64)


def _no_sums(config: Config) -> Sums:
    """Return float64 zeros in the shape of ``_judged``'s statistics."""
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
                f"no loss depends on {listed(unreached)}; set trainable: false on the layers or remove them",
            )
        )
    return list(gradients)


def _apply(optimizer: Optimizer, rate: Any, gradients: Sequence[tuple[Any, Any]], times: Mapping[str, float]) -> Any:
    with tf.control_dependencies([gradient for gradient, _ in gradients]):
        share = optimizer.decay_share()
        decay = [
            variable.assign_sub(rate * times.get(variable.op.name, 1.0) * share * variable, read_value=False)
            for _, variable in gradients
            if share > 0
        ]
    with tf.control_dependencies(decay):
        return with_multipliers(optimizer.make(rate), times).apply_gradients(gradients)


def _move_statistics(connection: Connection) -> Any:
    """Return the operation that moves batch statistics, one after the other, so that shared ones move in order."""
    done = tf.no_op()
    for update in connection.updates:
        with tf.control_dependencies([done]):
            difference = (update.variable.read_value() - update.value) * (1 - update.momentum)
            done = update.variable.assign_sub(difference, read_value=False)
    return done

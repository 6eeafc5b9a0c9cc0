"""One training step: gradients, moving statistics, the optimizers of its phases, EMA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.preprocess import FieldPreprocessing
from expkit.errors import ConfigError
from expkit.kinds.evaluated import Readable
from expkit.kinds.layers.base import Update
from expkit.network.build import TrainingCall, connect
from expkit.network.gradient_paths import unreached_problem
from expkit.network.phases import Phase
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig
from expkit.training.ema import ema_update
from expkit.training.execution import Execution
from expkit.training.penalty import penalty
from expkit.training.policy import TrainedLayers
from expkit.training.step import (
    Objective,
    Statistics,
    add_batch,
    loss_and_statistics,
    network_inputs,
    zero_statistics,
)
from expkit.training.update import Gradients, update_variables, with_rows

__all__ = ["PreviousStep", "StepResult", "StepSetup", "train_step", "update_groups"]

MOVING_STATISTICS = ""
"""Stands for all moving statistics where trainable variables have their names."""


@dataclass(frozen=True, kw_only=True)
class StepSetup:
    """The inputs that all training steps of a graph share."""

    checked: CheckedConfig
    variables: Mapping[str, Any]
    """The network's, and the EMA variables that it reads, by name."""
    preprocessing: Mapping[str, FieldPreprocessing]
    """The fitted preprocessing of fields, by name."""
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
    state: Mapping[str, Any]
    """State that layers carry from the step before, by full name, [batch, ...]."""


@dataclass(frozen=True)
class StepResult:
    """Operations of one step, and the statistics of its batches."""

    operation: Any
    """Does the step."""
    updates: Mapping[str, Any]
    """By update group: the operation that updates it."""
    statistics: Statistics
    state: Mapping[str, Any]
    """State that layers carry to the next step, by full name."""


def update_groups(spec: NetworkSpec) -> tuple[str, ...]:
    """Return the groups whose update the next step may await separately.

    These are each trainable variable, by name, and ``MOVING_STATISTICS`` if there may be any.
    """
    return (*spec.trainable, *([MOVING_STATISTICS] if set(spec.variables) - set(spec.trainable) else []))


def train_step(setup: StepSetup, batch: Mapping[str, Any], step: Any, previous: PreviousStep) -> StepResult:
    """Build one training step: an update of all variables, or those of its phases, one after the other or at once.

    A layer awaits only the update of its own variables by the previous step; the updates of this step await its end. So
    cores that are idle at the end of a step begin the next, and no number depends on that. Phases that alternate await
    one another.
    """
    config, phases = setup.checked.config, setup.checked.phases
    if config.train.update == "joint" or len(phases) == 1 == phases[0].steps:
        result = _update(setup, batch, _Update(phases=phases, step=step, draw=step, reports=True), previous)
    else:
        result = _alternate(setup, batch, step, previous)
    if not config.train.phases:
        return result
    with tf.control_dependencies([result.operation]):  # An EMA counts steps, not updates.
        variables = (setup.variables[name] for name in setup.checked.spec.trainable)
        finished = tf.group(*map(ema_update(config.ema, frozenset(setup.checked.ema_names), step), variables))
    return replace(result, operation=finished, updates=dict.fromkeys(update_groups(setup.checked.spec), finished))


@dataclass(frozen=True, kw_only=True)
class _Update:
    """An update of some phases at once."""

    phases: tuple[Phase, ...]
    step: Any
    """int64 scalar, the global step."""
    draw: Any
    """int64 scalar, a number of the batch that no other batch has; random numbers are drawn by it."""
    reports: bool
    """Whether it moves moving statistics, and its losses and metrics are reported."""


def _alternate(setup: StepSetup, batch: Mapping[str, Any], step: Any, previous: PreviousStep) -> StepResult:
    """Build a step whose phases update one after the other, each as often as it has steps."""
    config, phases = setup.checked.config, setup.checked.phases
    most, size = config.train.batches_per_step, config.train.batch_size * config.train.gradient_accumulation_steps
    batches = {name: tf.reshape(rows, (most, size, *rows.shape[1:])) for name, rows in batch.items()}
    results: list[StepResult] = []

    def update(phase: Phase, number: Any, reports: bool) -> StepResult:
        draw = step * most + tf.cast(number, tf.int64)
        update = _Update(phases=(phase,), step=step, draw=draw, reports=reports)
        with tf.name_scope(phase.name):
            own = {name: rows[number] for name, rows in batches.items()}
            return _update(setup, own, update, PreviousStep((), {}, previous.state))

    for phase in phases:
        reports = not results
        statistics = zero_statistics(setup.checked, phase.steps * size, trains=True) if reports else {}

        def body(number: Any, totals: Statistics, phase: Phase = phase, reports: bool = reports) -> Any:
            result = update(phase, number, reports)
            with tf.control_dependencies([result.operation]):
                return number + 1, add_batch(totals, result.statistics, number * size) if reports else {}

        with tf.control_dependencies([results[-1].operation] if results else previous.finished):
            if phase.steps == 1:
                results.append(update(phase, 0, reports))
                continue
            done, statistics = tf.while_loop(
                lambda number, *_, steps=phase.steps: number < steps,
                body,
                (tf.constant(0), statistics),
                parallel_iterations=1,
            )
            results.append(StepResult(done.op, {}, statistics, {}))  # The configuration excludes a state here.
    return replace(results[-1], statistics=results[0].statistics, state=results[0].state)


def _update(setup: StepSetup, batch: Mapping[str, Any], update: _Update, previous: PreviousStep) -> StepResult:
    """Build the update of phases by the gradients of one batch."""
    config, spec = setup.checked.config, setup.checked.spec.trained
    updated = _updated(spec, previous)
    trained = {name: setup.variables[name] for phase in update.phases for name in phase.variables}
    count = config.train.gradient_accumulation_steps

    def gradients_of(batch: Mapping[str, Any], draw: Any, state: Mapping[str, Any]) -> Any:
        policy = partial(TrainedLayers, setup.execution, setup.execution.shards(config.train.batch_size), updated)
        inputs = {**network_inputs(spec, batch, setup.preprocessing), **state}
        training = TrainingCall(config.run.seed, draw)
        connection = connect(spec, setup.variables, inputs, training=training, policy=policy)
        with tf.control_dependencies(list(updated.values())):
            regularization = penalty(spec, setup.variables)
            own = [
                regularization if not phase.name else penalty(spec, setup.variables, phase.variables)
                for phase in update.phases
            ]
        values = _values(config, setup.variables, updated)
        readable = Readable(outputs=connection.outputs, fields=batch, variables=values)
        objective = loss_and_statistics(config, readable, regularization, update.step, training)
        gradients = [
            gradient
            for phase, own_penalty in zip(update.phases, own, strict=True)
            for gradient in _gradients(
                phase, _loss(phase, objective, own_penalty), [trained[name] for name in phase.variables]
            )
        ]
        # No variable is updated before all have read it, but none awaits the gradients of others.
        with tf.control_dependencies(_readers()):
            moved = _move_statistics(connection.updates if update.reports else ())
            with tf.control_dependencies([moved]):
                reported = objective.statistics if update.reports else {}
                return [tf.identity(gradient) for gradient in gradients], reported, moved, connection.state

    rows_read: dict[str, Any] = {}
    if count == 1:
        gradients, statistics, moved, state = gradients_of(batch, update.draw, previous.state)
    else:
        micro_batches = _micro_batches(batch, count)

        sparse: set[int] = set()

        def accumulate(
            number: Any, gradients: list[Any], read: list[Any], statistics: Statistics, state: Mapping[str, Any]
        ) -> Any:
            micro_batch = {name: rows[number] for name, rows in micro_batches.items()}
            own = {name: rows[number] for name, rows in state.items()}
            more, counted, _, after = gradients_of(micro_batch, update.draw * count + tf.cast(number, tf.int64), own)
            state = {name: tf.tensor_scatter_nd_update(state[name], [[number]], after[name][None]) for name in state}
            added = [total + tf.convert_to_tensor(one) / count for total, one in zip(gradients, more, strict=True)]
            sparse.update(index for index, one in enumerate(more) if isinstance(one, tf.IndexedSlices))
            read = [with_rows(rows, more[index]) if index in sparse else rows for index, rows in enumerate(read)]
            return number + 1, added, read, add_batch(statistics, counted, number * config.train.batch_size), state

        zeros = [tf.zeros(variable.shape, variable.dtype.base_dtype) for variable in trained.values()]
        unread = [tf.zeros(variable.shape[:1], tf.bool) for variable in trained.values()]
        totals = zero_statistics(setup.checked, count * config.train.batch_size, trains=True) if update.reports else {}
        _, gradients, read, statistics, state = tf.while_loop(
            lambda number, *_: number < count,
            accumulate,
            (tf.constant(0), zeros, unread, totals, _micro_batches(previous.state, count)),
            parallel_iterations=1,
        )
        state = {name: tf.reshape(rows, previous.state[name].shape) for name, rows in state.items()}
        moved = gradients[0].op
        rows_read = {name: read[index] for index, name in enumerate(trained) if index in sparse}

    pairs = {name: (gradient, trained[name]) for name, gradient in zip(trained, gradients, strict=True)}
    operations, updates = [], {MOVING_STATISTICS: moved}
    with tf.control_dependencies(previous.finished):
        for phase in update.phases:
            rate = phase.optimizer.rate(update.step)
            if setup.rate_factor is not None:
                rate = rate * setup.rate_factor
            own = Gradients({name: pairs[name] for name in phase.variables}, rows_read)
            operation, updated_by = update_variables(setup.checked, phase, own, rate, setup.execution, update.step)
            operations.append(operation)
            updates |= updated_by
    operation = operations[0] if len(operations) == 1 else tf.group(*operations)
    return StepResult(operation, updates, statistics, state)


def _micro_batches(batch: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return tensors [batch, ...] as [count, batch / count, ...]."""
    return {name: tf.reshape(rows, (count, -1, *rows.shape[1:])) for name, rows in batch.items()}


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


def _loss(phase: Phase, objective: Objective, regularization: Any) -> Any:
    """Return the loss that a phase lowers: the sum of its own, with the regularizers of its variables."""
    if not phase.name:
        return objective.total
    return tf.add_n([regularization, *(objective.terms[name] for name in phase.losses)])


def _gradients(phase: Phase, loss: Any, trained: Sequence[Any]) -> list[Any]:
    """Return the gradient of every variable that a phase trains."""
    if not trained:
        raise ConfigError.at("network.layers", "no variable is trainable; train.steps=0 evaluates without training")
    gradients = tf.gradients(loss, list(trained))
    if unreached := [name for name, gradient in zip(phase.variables, gradients, strict=True) if gradient is None]:
        raise ConfigError(unreached_problem(phase, unreached))
    return list(gradients)


def _readers() -> list[Any]:
    """Return the operations added so far that may read a variable."""
    operations = tf.get_default_graph().get_operations()
    return [operation for operation in operations if any(tensor.dtype == tf.resource for tensor in operation.inputs)]


def _move_statistics(updates: Sequence[Update]) -> Any:
    """Return the operation that updates moving statistics, one after the other: shared ones keep their order."""
    done = tf.no_op()
    for update in updates:
        with tf.control_dependencies([done]):
            difference = (update.variable.read_value() - update.value) * (1 - update.momentum)
            done = update.variable.assign_sub(difference, read_value=False)
    return done

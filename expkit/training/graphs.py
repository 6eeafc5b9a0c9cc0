"""One explicit, finalized graph per mode of training: train, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from expkit import tf1 as tf
from expkit.data.batches import Batches, Sampling, chunk_steps, resident_batches, streamed_batches
from expkit.data.dataset import Dataset
from expkit.data.prefetch import Stream
from expkit.kinds.evaluated import Readable
from expkit.kinds.schedules import Constant
from expkit.metric_names import rate_name
from expkit.network.build import Connection, connect, create_variables, placeholders
from expkit.network.ema_variables import create_ema_variables, read_averages
from expkit.network.names import ema_name, operation_name
from expkit.network.spec import NetworkSpec
from expkit.network.state import create_state_variables, reset_state, state_placeholders
from expkit.preflight import CheckedConfig
from expkit.training.execution import PLAIN, Execution
from expkit.training.numbers import SEED, with_numbers
from expkit.training.penalty import penalty
from expkit.training.policy import batch_at, may_overlap, uses_workspace
from expkit.training.snapshot import Snapshot, add_snapshot
from expkit.training.step import Statistics, add_batch, loss_and_statistics, network_inputs, zero_statistics
from expkit.training.train_step import PreviousStep, StepSetup, train_step, update_groups

__all__ = [
    "EvaluateGraph",
    "TrainGraph",
    "evaluate_graph",
    "train_graph",
]


@dataclass(frozen=True, kw_only=True)
class TrainGraph:
    """The graph that trains: a step is a pure function of the variables and (seed, global_step)."""

    graph: Any
    execution: Execution
    """The execution mode in use: a chunk of batches may hold fewer steps than were requested."""
    variables: Mapping[str, Any]
    """All variables of a checkpoint, by name: the network's, EMA, slots, ``global_step``."""
    count: Any
    """Placeholder, int32: number of steps that ``run`` does, at most as many as its chunk of batches still has."""
    run: Any
    """Operation that does steps."""
    statistics: Statistics
    """Sums over the steps."""
    next_step: Any
    """int64: the global step when ``run`` has done its steps."""
    numbers: Mapping[str, Any]
    """Placeholders, int64 or float64, of the numbers that are fed, by name; none where they are constants."""
    learning_rates: Mapping[str, Any]
    """float32, by name: learning rates of the last step done (of the first one before it), not multiplied by
    ``rate_factor``."""
    rate_factor: Any | None
    """Placeholder, float32: factor of the learning rate; ``None`` where training never rolls back."""
    initialize: Sequence[Any]
    """Operations that give every variable its initial value, run one after the other."""
    saver: Any
    snapshot: Snapshot
    batches: Batches
    open_stream: Callable[[], Stream] | None
    """Opens the stream of chunks that calls are fed; ``None`` where the session holds the training examples."""


@dataclass(frozen=True, kw_only=True)
class EvaluateGraph:
    """The graph that evaluates: raw and EMA network on the same batch, in parallel."""

    graph: Any
    variables: Mapping[str, Any]
    """The network's variables and their EMA, by name."""
    fields: Mapping[str, Any]
    """Placeholders by field of the data: inputs and labels."""
    outputs: Mapping[str, Mapping[str, Any]]
    """Output tensors of all examples fed, by weights (``raw``, ``ema`` where there is an EMA) and output name."""
    served_inputs: Mapping[str, Any]
    """Placeholders of the inputs that the frozen graph has, by name."""
    served_outputs: Mapping[str, Mapping[str, Any]]
    """The same numbers as the frozen graph's, by weights and output name."""
    statistics: Mapping[str, Statistics]
    """By weights, of all examples fed: a loop goes from batch to batch."""
    state: Mapping[str, Mapping[str, Any]]
    """Placeholders of the state that layers carry, by weights and full name, for the first batch fed."""
    next_state: Mapping[str, Mapping[str, Any]]
    """State after the last batch of ``statistics``; every call of ``outputs`` starts with zeros."""
    step: Any | None
    """Placeholder, int64: step at which weights of losses that are schedules are read; ``None`` without any."""


def train_graph(
    checked: CheckedConfig, dataset: Dataset, execution: Execution = PLAIN, fed: Collection[str] = ()
) -> TrainGraph:
    """Build the graph that trains; its session holds the training examples, or is fed chunks of them.

    The order within a step: gradients, moving statistics, clipping, weight decay, optimizer, EMA. The steps of one
    execution are the iterations of a loop in the graph, which XLA may compile; their batches are gathered before it.

    Args:
        checked: configuration.
        dataset: data.
        execution: execution mode.
        fed: names of ``numbers_of`` that are fed; with a seed that is, the data must be resident.
    """
    overlap = may_overlap(checked.spec.trained, execution)
    built = _train_graph(checked, dataset, execution, overlap, fed)
    if overlap and uses_workspace(built.graph):
        return _train_graph(checked, dataset, execution, overlap=False, fed=fed)
    return built


def _train_graph(
    checked: CheckedConfig, dataset: Dataset, execution: Execution, overlap: bool, fed: Collection[str]
) -> TrainGraph:
    """Build the graph; with ``overlap`` a step begins before the previous one has ended."""
    train = dataset.splits["train"]
    rows = checked.config.train.examples_per_step
    plan = dataset.augmentation
    templates = train if plan is None else plan.templates(train)
    execution = replace(execution, steps_per_execution=chunk_steps(templates, execution.steps_per_execution, rows))
    chunk_size = execution.steps_per_execution
    streamed = dataset.placement == "streamed"
    epoch_steps = dataset.size("train") // rows
    graph = tf.Graph()
    with graph.as_default():
        numbers = {
            name: tf.placeholder(tf.int64 if name == SEED else tf.float64, (), name=f"numbers/{name}") for name in fed
        }
        checked = with_numbers(checked, numbers)
        config, spec = checked.config, checked.spec.trained
        sampling = Sampling(batch_size=rows, seed=config.run.seed, order=config.data.order)
        variables = create_variables(spec, config.run.seed)
        carried = create_state_variables(spec, rows)
        read = read_averages(spec, create_ema_variables(variables, spec.averaged, copies=True))
        global_step = tf.train.get_or_create_global_step()
        count = tf.placeholder(tf.int32, (), name="count")
        rolls_back = config.train.on_nan.action == "roll_back"
        factor = tf.placeholder(tf.float32, (), name="rate_factor") if rolls_back else None
        first = tf.identity(global_step.read_value(), name="step")
        if streamed:
            batches = streamed_batches(templates, chunk_size, rows)
        else:
            batches = resident_batches(train, first, count, chunk_size, sampling)

        setup = StepSetup(
            checked=checked,
            variables={**variables, **read},
            preprocessing=dataset.preprocessing_in_step,
            execution=execution,
            rate_factor=factor,
        )

        # The names of the arguments are names in the graph.
        def steps(first: Any, begin: Any, block: Any, count: Any, state: Any) -> Any:
            def body(index: Any, totals: Any, updated: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
                step = first + tf.cast(index - begin, tf.int64)
                batch = {name: batch_at(values, index, execution) for name, values in block.items()}
                state = {name: reset_state(value, step, epoch_steps) for name, value in state.items()}
                result = train_step(setup, batch, step, PreviousStep(tf.nest.flatten(totals), updated, state))
                with tf.control_dependencies([result.operation]):
                    totals = add_batch(totals, result.statistics, (index - begin) * rows)
                done = {group: result.updates[group] for group in updated}
                return index + 1, totals, {name: _after(item, index) for name, item in done.items()}, result.state

            groups = update_groups(spec) if overlap else ()
            # The loop counts indices: of a sum of ``begin`` and a count XLA would compile every value anew.
            _, totals, _, state = tf.while_loop(
                lambda index, *_: index < begin + count,
                body,
                (begin, zero_statistics(checked, chunk_size * rows, trains=True), dict.fromkeys(groups, begin), state),
                parallel_iterations=2 if groups else 1,
            )
            return totals, state

        statistics, state = (tf.compiled_by_xla(steps) if execution.jit_compile is True else steps)(
            first, batches.begin, batches.chunk, count, {name: item.read_value() for name, item in carried.items()}
        )
        kept = [carried[name].assign(value, read_value=False) for name, value in state.items()]
        with tf.control_dependencies([*tf.nest.flatten(statistics), batches.prepare, *kept]):
            run = global_step.assign_add(tf.cast(count, tf.int64), read_value=False)
        saved = {variable.op.name: variable for variable in tf.global_variables()}
        assert set(variables) <= set(saved), "every variable of the network is saved"
        assert {ema_name(name) for name in checked.ema_names} <= set(saved)
        saver = tf.train.Saver(saved, max_to_keep=None)
        fixed = set(spec.variables) - set(spec.trainable)
        snapshot = add_snapshot(saved, set(saved) - fixed)
        # EMA variables start as copies of the network's: one group would do in a new session only.
        initialize = [
            tf.group([variable.initializer for name, variable in saved.items() if (name in variables) is network])
            for network in (True, False)
        ]
        next_step = first + tf.cast(count, tf.int64)
        last = tf.maximum(next_step - 1, 0)
        rates = {rate_name(phase.name): phase.optimizer.rate(last) for phase in checked.phases}
    graph.finalize()
    return TrainGraph(
        graph=graph,
        execution=execution,
        variables=saved,
        count=count,
        run=run,
        statistics=statistics,
        next_step=next_step,
        numbers=numbers,
        learning_rates=rates,
        rate_factor=factor,
        initialize=initialize,
        saver=saver,
        snapshot=snapshot,
        batches=batches,
        open_stream=partial(Stream, train, chunk_size, sampling, plan) if streamed else None,
    )


def _after(operation: Any, value: Any) -> Any:
    """Return a value that exists only after an operation."""
    with tf.control_dependencies([operation]):
        return tf.identity(value)


def evaluate_graph(checked: CheckedConfig, dataset: Dataset) -> EvaluateGraph:
    """Build the graph that evaluates; the EMA has variables of its own, so no values are ever swapped."""
    config, spec, served = checked.config, checked.spec.trained, checked.spec.served
    graph = tf.Graph()
    with graph.as_default():
        variables = create_variables(spec, config.run.seed)
        ema = create_ema_variables(variables, checked.ema_names)
        preprocessing = dataset.preprocessing
        kept = {name: spec for item in preprocessing.values() for name, spec in item.kept_specs.items()}
        fields = placeholders(spec, {name: kept.get(name, item) for name, item in spec.inputs.items()})
        for name, array in dataset.splits["train"].items():
            if name not in fields:
                shape = (None, *array.shape[1:])
                fields[name] = tf.placeholder(array.dtype, shape, name=f"labels/{operation_name(name)}")
        scheduled = any(not isinstance(loss.weight, Constant) for loss in config.train.losses.values())
        step = tf.placeholder(tf.int64, (), name="step") if scheduled else None
        every = {"raw": variables, "ema": ema} if checked.ema_names else {"raw": variables}
        every = {weights: {**values, **read_averages(checked.spec, ema)} for weights, values in every.items()}

        def connected(
            batch: Mapping[str, Any], weights: str, state: Mapping[str, Any] | None = None, spec: NetworkSpec = spec
        ) -> Connection:
            with tf.name_scope(weights):
                inputs = {**network_inputs(spec, batch, preprocessing), **(state or {})}
                return connect(spec, every[weights], inputs, seed=config.run.seed)

        outputs = {weights: connected(fields, weights).outputs for weights in every}
        if served.inputs.keys() <= spec.inputs.keys() and served.outputs.keys() <= spec.outputs.keys():
            inputs: Mapping[str, Any] = {name: fields[name] for name in served.inputs}
            proven = {weights: {name: outputs[weights][name] for name in served.outputs} for weights in every}
        else:
            with tf.name_scope("served"):
                inputs = placeholders(served, {name: kept.get(name, item) for name, item in served.inputs.items()})
                proven = {weights: dict(connected(inputs, weights, spec=served).outputs) for weights in every}
        state = {weights: state_placeholders(spec, weights) for weights in every}
        size, total = config.train.evaluation_batch_size, tf.shape(next(iter(fields.values())))[0]

        def body(start: Any, totals: Mapping[str, Statistics], state: Mapping[str, Mapping[str, Any]]) -> Any:
            batch = {name: field[start : start + size] for name, field in fields.items()}
            count = tf.minimum(size, total - start) if spec.state else size
            more, after = {}, {}
            for weights, values in every.items():
                first = {name: value[:count] for name, value in state[weights].items()}
                connection = connected(batch, weights, first)
                readable = Readable(outputs=connection.outputs, fields=batch, variables=values)
                more[weights] = loss_and_statistics(config, readable, penalty(spec, values), step).statistics
                after[weights] = connection.state
            return start + size, {weights: add_batch(totals[weights], more[weights], start) for weights in every}, after

        _, statistics, next_state = tf.while_loop(
            lambda start, totals, state: start < total,
            body,
            (tf.constant(0), {weights: zero_statistics(checked, total, trains=False) for weights in every}, state),
            parallel_iterations=1,
        )
        saved = {variable.op.name: variable for variable in tf.global_variables()}
    graph.finalize()
    return EvaluateGraph(
        graph=graph,
        variables=saved,
        fields=fields,
        outputs=outputs,
        served_inputs=inputs,
        served_outputs=proven,
        statistics=statistics,
        state=state,
        next_state=next_state,
        step=step,
    )

"""The update of trained variables: clipping, weight decay, the optimizer, EMA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf
from expkit.errors import ConfigError, comma_list
from expkit.kinds.base_optimizer import BaseOptimizer, Optimizer, Trained, sum_repeated
from expkit.kinds.numbers import in_dtype, is_fed
from expkit.kinds.wrapped_optimizer import WrappedOptimizer
from expkit.network.phases import Phase
from expkit.preflight import CheckedConfig
from expkit.training.cpu_gradients import is_product
from expkit.training.ema import ema_update
from expkit.training.execution import Execution

__all__ = ["Gradients", "update_variables", "with_rows"]

LEAST_COMPILED = 100_000
"""Elements from which on XLA's fewer passes over a variable save more than a call of compiled code costs."""

Pairs = Mapping[str, tuple[Any, Any]]
"""Gradient, dense or ``tf.IndexedSlices``, and variable, by the variable's name."""


@dataclass(frozen=True)
class Gradients:
    """The gradients of a step."""

    pairs: Pairs
    rows_read: Mapping[str, Any]
    """Rows that a batch has read, bool [rows], by variable; for sparse gradients that were added up to a dense one."""

    def dense(self) -> Gradients:
        """Return the same gradients, all dense."""
        pairs, rows_read = dict(self.pairs), dict(self.rows_read)
        for name, (gradient, variable) in self.pairs.items():
            if isinstance(gradient, tf.IndexedSlices):
                pairs[name] = (tf.convert_to_tensor(gradient), variable)
                rows_read[name] = with_rows(tf.zeros(variable.shape[:1], tf.bool), gradient)
        return Gradients(pairs, rows_read)


def with_rows(read: Any, gradient: Any) -> Any:
    """Return which rows of a variable have been read, with those of a sparse gradient."""
    return tf.tensor_scatter_nd_update(read, gradient.indices[:, None], tf.ones_like(gradient.indices, tf.bool))


def update_variables(
    checked: CheckedConfig, phase: Phase, gradients: Gradients, rate: Any, execution: Execution, step: Any
) -> tuple[Any, Mapping[str, Any]]:
    """Return the operation that updates the variables of a phase, and the operation of each, by name.

    Where training has no phases of its own, it updates their EMA too.

    Variables do not wait for the gradients of others, unless gradients are clipped. XLA compiles the update of every
    large variable where ``execution.jit_compile`` is ``update``: it makes fewer passes over the variable, its slots and
    its EMA than TensorFlow's operations do one by one.

    Args:
        checked: EMA and network.
        phase: the optimizer, under whose phase its variables are named.
        gradients: with their variables.
        rate: float32 scalar, the learning rate.
        execution: how the step is run.
        step: int64 scalar, counted from 0.

    Raises:
        ConfigError: an optimizer of TensorFlow's is to multiply rates, or creates other variables than it declares.
    """
    optimizer, multipliers = phase.optimizer, checked.spec.learning_rate_multipliers
    if execution.jit_compile is True:  # XLA has no sparse updates, and sums of unknown length may be wrong in it.
        gradients = gradients.dense()
    pairs = gradients.pairs
    prepare = _preparation(optimizer, pairs, rate, multipliers)
    averaged: frozenset[str] = frozenset() if phase.name else frozenset(checked.ema_names)
    update_ema = ema_update(checked.config.ema, averaged, step)
    if isinstance(optimizer, WrappedOptimizer):
        prepared = {name: (prepare(gradient, variable), variable) for name, (gradient, variable) in pairs.items()}
        with tf.control_dependencies([_apply_wrapped(optimizer, prepared, rate, multipliers)]):
            updated = {name: update_ema(variable) for name, (_, variable) in pairs.items()}
        return tf.group(*updated.values()), updated
    assert isinstance(optimizer, Optimizer), "an optimizer is of one base class or of the other"
    slots, scalars = _create_variables(phase, pairs)
    hyperparameters = [tf.constant(getattr(optimizer, name), tf.float32) for name in optimizer.hyperparameters]

    def update_of(name: str, gradient: Any, variable: Any) -> Any:
        def update(gradient: Any) -> Any:
            gradient = prepare(gradient, variable)
            own = rate * multipliers[name] if name in multipliers else rate
            dtype = variable.dtype.base_dtype
            trained = Trained(
                variable=variable,
                slots=slots[name],
                scalars=scalars,
                rate=tf.cast(own, dtype),
                hyperparameters=[tf.cast(value, dtype) for value in hyperparameters],
            )
            if isinstance(gradient, tf.IndexedSlices):
                applied = optimizer.apply_sparse(gradient, trained)
            elif optimizer.leaves_unread_rows and name in gradients.rows_read:
                applied = _apply_to_rows(optimizer, gradient, trained, gradients.rows_read[name])
            else:
                applied = optimizer.apply(gradient, trained)
            with tf.control_dependencies([applied]), tf.control_dependencies([update_ema(variable)]):
                return tf.identity(step)

        small = variable.shape.num_elements() < LEAST_COMPILED
        if execution.jit_compile != "update" or small or isinstance(gradient, tf.IndexedSlices):
            return update(gradient).op
        if execution.precision == "bfloat16" and is_product(gradient):
            gradient = tf.cast(gradient, tf.bfloat16)  # As it is computed: XLA widens it where it reads it.
        return tf.compiled_by_xla(update)(gradient).op

    updated = {name: update_of(name, gradient, variable) for name, (gradient, variable) in pairs.items()}
    with tf.control_dependencies(list(updated.values())):
        finished = optimizer.finish(scalars)
    return tf.group(*updated.values(), finished), updated


def _apply_to_rows(optimizer: Optimizer, gradient: Any, trained: Trained, read: Any) -> Any:
    """Return the operation that updates a variable and its slots in the rows that were read, by a dense gradient."""
    changed = (trained.variable, *trained.slots)
    with tf.control_dependencies([gradient]):
        before = [tf.identity(variable.read_value()) for variable in changed]
    with tf.control_dependencies(before), tf.control_dependencies([optimizer.apply(gradient, trained)]):
        rows = tf.reshape(read, (-1, *(1,) * (gradient.shape.rank - 1)))
        selected = [
            tf.where_v2(rows, variable.read_value(), old) for variable, old in zip(changed, before, strict=True)
        ]
    return tf.group([variable.assign(new, read_value=False) for variable, new in zip(changed, selected, strict=True)])


def _preparation(
    optimizer: BaseOptimizer, pairs: Pairs, rate: Any, multipliers: Mapping[str, float]
) -> Callable[[Any, Any], Any]:
    """Return a function of a gradient and its variable that returns the clipped gradient.

    An operation that reads the clipped gradient runs after the decay of the variable.
    """
    clipnorm, decay = optimizer.global_clipnorm, optimizer.decoupled_weight_decay()
    norm = None if clipnorm is None else _global_norm([gradient for gradient, _ in pairs.values()])

    def prepare(gradient: Any, variable: Any) -> Any:
        if norm is not None:
            (gradient,), _ = tf.clip_by_global_norm([tf.cast(gradient, norm.dtype)], clipnorm, norm)
        gradient = tf.cast(gradient, variable.dtype)
        if not is_fed(decay) and decay == 0:
            return gradient
        with tf.control_dependencies([gradient]):
            # Constants in a product of its own: TensorFlow folds them into one, on which the last bit depends.
            difference = rate * multipliers.get(variable.op.name, 1.0) * in_dtype(decay, rate.dtype) * variable
            decayed = variable.assign_sub(difference, read_value=False)
        with tf.control_dependencies([decayed]):
            return tf.identity(gradient)

    return prepare


def _global_norm(gradients: Sequence[Any]) -> Any:
    """Return the L2 norm of all gradients, in float32 or wider; rows of a repeated id count as their sum.

    ``tf.global_norm`` takes each of them by itself: for sparse gradients that is another number than for the same
    gradients made dense.
    """
    dtype = tf.float64 if any(gradient.dtype == tf.float64 for gradient in gradients) else tf.float32
    rows = [sum_repeated(item)[1] if isinstance(item, tf.IndexedSlices) else item for item in gradients]
    return tf.global_norm([tf.cast(item, dtype) for item in rows])


def _create_variables(phase: Phase, pairs: Pairs) -> tuple[dict[str, list[Any]], list[Any]]:
    """Create the optimizer's variables outside of the loop over steps; return slots by variable, and scalars."""
    slots, scalars = phase.optimizer.slots, phase.optimizer.scalars
    with tf.init_scope():
        created = [
            _filled(name, value, (), tf.float32) for name, value in zip(phase.scalars, scalars.values(), strict=True)
        ]
        return {
            name: [
                _filled(slot, value, variable.shape, variable.dtype.base_dtype)
                for slot, value in zip(phase.slots(name), slots.values(), strict=True)
            ]
            for name, (_, variable) in pairs.items()
        }, created


def _filled(name: str, value: float, shape: Any, dtype: Any) -> Any:
    """Create a variable that holds one value everywhere at first."""
    return tf.get_variable(
        name,
        shape,
        dtype,
        initializer=lambda shape, dtype: tf.fill(shape, tf.cast(value, dtype)),
        trainable=False,
        use_resource=True,
    )


def _apply_wrapped(optimizer: WrappedOptimizer, pairs: Pairs, rate: Any, multipliers: Mapping[str, float]) -> Any:
    """Return the operation by which an optimizer of TensorFlow's updates all variables.

    Raises:
        ConfigError: rates are to be multiplied, or it creates other variables than its kind declares.
    """
    if multipliers:
        raise ConfigError.at(
            "optimizer.kind",
            f"'{optimizer.kind}' wraps an optimizer of TensorFlow's, which has one learning rate for all "
            f"variables: leave out the learning_rate_multiplier of {comma_list(multipliers)}, or "
            "use another optimizer",
        )
    with tf.init_scope():
        before = {variable.op.name for variable in tf.global_variables()}
    applied = optimizer.wrapped(rate).apply_gradients(list(pairs.values()))
    with tf.init_scope():
        created = {variable.op.name for variable in tf.global_variables()} - before
    declared = {*optimizer.scalars, *(slot for name in pairs for slot in optimizer.slot_names(name))}
    if created != declared:
        raise ConfigError.at(
            "optimizer.kind",
            f"'{optimizer.kind}' declares other variables than it creates; only declared: "
            f"{comma_list(sorted(declared - created))}; only created: {comma_list(sorted(created - declared))}; "
            "change its slots and scalars",
        )
    return applied

"""What follows the gradients of a step, variable by variable: clipping, weight decay, the optimizer, averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.errors import ConfigError, Problem, comma_list
from expkit.network.averages import averaged_names
from expkit.network.spec import NetworkSpec
from expkit.training.cpu_gradients import is_product
from expkit.training.ema import moving_averages
from expkit.training.execution import Execution
from expkit.training.multipliers import around_changes, with_multipliers

__all__ = ["update_variables"]

LEAST_COMPILED = 100_000
"""Elements from which on XLA's fewer passes over a variable save more than a call of what it compiled costs."""


def update_variables(
    config: Config,
    spec: NetworkSpec,
    variables: Mapping[str, Any],
    gradients: Mapping[str, Any],
    step: Any,
    execution: Execution,
    rate_factor: Any | None = None,
) -> tuple[Any, Mapping[str, Any]]:
    """Return the operation that changes trained variables and moves their averages, and its part for each, by name.

    Variables do not wait for the gradients of others, unless gradients are clipped. XLA compiles the changes of every
    large variable where ``execution.jit_compile`` is ``update``: it makes fewer passes over the variable, its slots and
    its average than TensorFlow's operations do one by one.

    Args:
        config: optimizer and averages.
        spec: the network.
        variables: by name.
        gradients: of trained variables, by name.
        step: int64 scalar, counted from 0.
        execution: how the step is run.
        rate_factor: float32 scalar that the learning rate is multiplied by, if given.

    Raises:
        ConfigError: the optimizer does not apply gradients as those of TensorFlow do.
    """
    optimizer = config.optimizer
    compiled = execution.jit_compile == "update"
    rate, times = optimizer.rate(step), spec.learning_rate_multipliers
    if rate_factor is not None:
        rate = rate * rate_factor
    clipnorm, norm = optimizer.global_clipnorm, None
    if clipnorm is not None:
        norm = tf.global_norm(list(gradients.values()))
    average = moving_averages(config.ema, frozenset(averaged_names(config.ema, spec)), step)
    moved: dict[str, Any] = {}

    def with_all_else(apply: Callable[..., Any]) -> Callable[..., Any]:
        """Return what applies a gradient to a variable with all that goes with it."""

        def changed(gradient: Any, variable: Any, *rest: Any) -> Any:
            def change(gradient: Any, *rest: Any) -> Any:
                gradient = tf.cast(gradient, variable.dtype)
                if norm is not None:
                    (gradient,), _ = tf.clip_by_global_norm([gradient], clipnorm, norm)
                decayed = tf.no_op()
                if (share := optimizer.decay_share()) > 0:
                    with tf.control_dependencies([gradient]):
                        less = rate * times.get(variable.op.name, 1.0) * share * variable
                        decayed = variable.assign_sub(less, read_value=False)
                with tf.control_dependencies([decayed]):
                    done = apply(gradient, variable, *rest)
                with tf.control_dependencies([done]), tf.control_dependencies([average(variable)]):
                    return tf.identity(step)

            if compiled and not rest and variable.shape.num_elements() >= LEAST_COMPILED:
                if execution.precision == "bfloat16" and is_product(gradient):
                    gradient = tf.cast(gradient, tf.bfloat16)  # As it is computed: XLA widens it where it reads it.
                moved[variable.op.name] = tf.compiled_by_xla(change)(gradient).op
            else:
                moved[variable.op.name] = change(gradient, *rest).op
            return moved[variable.op.name]

        return changed

    made = around_changes(with_multipliers(optimizer.make(rate), times), with_all_else)
    done = made.apply_gradients([(gradient, variables[name]) for name, gradient in gradients.items()])
    if passed_over := [name for name in gradients if name not in moved]:
        raise ConfigError(
            Problem(
                "optimizer.kind",
                f"{type(made).__name__} does not apply gradients by _resource_apply_dense: clipping, weight decay and "
                f"averages would pass over {comma_list(passed_over)}; override that instead of apply_gradients",
            )
        )
    return done, moved

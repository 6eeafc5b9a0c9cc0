"""Learning rates of their own for some variables: the optimizer's, times a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from expkit.errors import ConfigError, Problem

__all__ = ["around_changes", "with_multipliers"]

# Where the optimizers of ``tf.compat.v1.train`` keep the learning rate that they apply.
_RATES = ("_lr_t", "_learning_rate_tensor")


def around_changes(optimizer: Any, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """Return the optimizer, whose way to change a variable by a dense or a sparse gradient is from now on another.

    Args:
        optimizer: a ``tf.compat.v1.train.Optimizer``.
        around: from what is called with gradient, variable and, where sparse, indices, to what is called instead.
    """
    for name in ("_resource_apply_dense", "_resource_apply_sparse_duplicate_indices"):
        setattr(optimizer, name, around(getattr(optimizer, name)))
    return optimizer


def with_multipliers(optimizer: Any, multipliers: Mapping[str, float]) -> Any:
    """Return the optimizer, which from now on applies some variables' gradients with a multiplied learning rate.

    Slots and moments are what they are without: only the step that a variable takes is longer or shorter.

    Args:
        optimizer: a ``tf.compat.v1.train.Optimizer``.
        multipliers: by the variable's name; 1 where there is none.
    """
    if not multipliers:
        return optimizer
    return around_changes(optimizer, lambda apply: _multiplied(optimizer, apply, multipliers))


def _multiplied(optimizer: Any, apply: Callable[..., Any], multipliers: Mapping[str, float]) -> Callable[..., Any]:
    def apply_multiplied(gradient: Any, variable: Any, *rest: Any) -> Any:
        times = multipliers.get(variable.op.name)
        if times is None:
            return apply(gradient, variable, *rest)
        field = next((name for name in _RATES if getattr(optimizer, name, None) is not None), None)
        if field is None:
            raise ConfigError(
                Problem(
                    "optimizer.kind",
                    f"{type(optimizer).__name__} has one learning rate for all variables; "
                    "leave out learning_rate_multiplier, or take another optimizer",
                )
            )
        rate = getattr(optimizer, field)
        setattr(optimizer, field, rate * times)
        try:
            return apply(gradient, variable, *rest)
        finally:
            setattr(optimizer, field, rate)

    return apply_multiplied

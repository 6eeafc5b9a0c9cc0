"""The EMA variables of a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from expkit import tf1 as tf
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec

__all__ = ["create_ema_variables", "read_averages"]


def create_ema_variables(
    variables: Mapping[str, Any], averaged: Iterable[str], *, copies: bool = False
) -> dict[str, Any]:
    """Create the EMA variables in the default graph.

    Args:
        variables: raw variables by name.
        averaged: names of those that have an EMA.
        copies: True if they start as copies of the raw ones, which are initialized before; otherwise they are zeros.

    Returns:
        By the name of the raw variable: its EMA variable, or the variable itself if it has none.
    """
    ema = dict(variables)
    for name in averaged:
        variable = variables[name]
        ema[name] = tf.get_variable(
            ema_name(name),
            shape=variable.shape,
            dtype=variable.dtype,
            initializer=_value_of(variable) if copies else tf.zeros_initializer(),
            trainable=False,
            use_resource=True,
        )
    return ema


def _value_of(variable: Any) -> Callable[..., Any]:
    return lambda shape, dtype=None, partition_info=None: variable.read_value()


def read_averages(spec: NetworkSpec, averages: Mapping[str, Any]) -> dict[str, Any]:
    """Return the EMA variables that the network reads, by their own names.

    Args:
        spec: the network.
        averages: EMA variables by the names of the raw ones.
    """
    return {ema_name(name): averages[name] for name in spec.averaged}

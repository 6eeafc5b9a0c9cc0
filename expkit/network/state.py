"""State that layers carry from batch to batch: its variables, its first values, its checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expkit import tf1 as tf
from expkit.errors import ConfigError
from expkit.kinds.layers.tensor_shapes import sizes_of
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.tensor_spec import TensorSpec

__all__ = [
    "create_state_variables",
    "initial_state",
    "mismatch",
    "next_state",
    "reset_state",
    "state_placeholders",
]


def create_state_variables(spec: NetworkSpec, batch_size: int) -> dict[str, Any]:
    """Create the variables, by full name, that hold the state between batches; zeros at first."""
    return {
        name: tf.get_variable(
            name,
            shape=(batch_size, *item.shape),
            dtype=item.dtype,
            initializer=tf.zeros_initializer(),
            trainable=False,
            use_resource=True,
        )
        for name, item in spec.state.items()
    }


def state_placeholders(spec: NetworkSpec, scope: str) -> dict[str, Any]:
    """Return a placeholder, by full name, for the state of a batch of unknown size, under a name scope."""
    return {
        name: tf.placeholder(item.dtype, (None, *item.shape), name=f"{scope}/state/{name}")
        for name, item in spec.state.items()
    }


def reset_state(value: Any, step: Any, epoch_steps: int) -> Any:
    """Return a state, or zeros in the first step of an epoch.

    Args:
        value: state after the previous step.
        step: int64 scalar, counted from 0.
        epoch_steps: steps of an epoch.
    """
    return tf.where_v2(tf.equal(step % epoch_steps, 0), tf.zeros_like(value), value)


def initial_state(spec: NetworkSpec, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state with which a batch starts, by full name; no gradient passes through it.

    Args:
        spec: the network.
        inputs: by name, [batch, ...], and the state after the previous batch, by full name; zeros if there is none.
    """
    if not spec.state:
        return {}
    batch = sizes_of(next(iter(inputs.values())))[0]
    return {
        name: tf.stop_gradient(inputs[name]) if name in inputs else tf.zeros([batch, *item.shape], item.dtype)
        for name, item in spec.state.items()
    }


def mismatch(declared: TensorSpec | None, result: Any) -> str | None:
    """Return the shape and dtype of a tensor that is not as declared; ``None`` if it is."""
    if declared is not None and result is not None:
        shape = tf.TensorShape([None if declared.batched else 1, *declared.shape])
        if shape.is_compatible_with(result.shape) and result.dtype.base_dtype.name == declared.dtype:
            return None
    return "nothing" if result is None else f"{result.shape} {result.dtype.base_dtype.name}"


def next_state(layer: LayerSpec, returned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state after a batch, by full name.

    Raises:
        ConfigError: ``apply`` did not return the state that ``declare_state`` declared.
    """
    for name in dict.fromkeys([*layer.state, *returned]):
        declared = layer.state.get(name)
        if (got := mismatch(declared, returned.get(name))) is not None:
            raise ConfigError.at(
                f"layer '{layer.path}'",
                f"kind '{layer.layer.kind}' declares the state '{name}' as {declared}, but next_state holds {got}; "
                "declare_state and apply must agree",
            )
    return {layer.state_variable(name): returned[name] for name in layer.state}

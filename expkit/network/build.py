"""From a network's description to variables and tensors; only this module calls ``get_variable``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf
from expkit.errors import ConfigError, Problem
from expkit.kinds.layers.base import Call, Inputs, Update
from expkit.network.names import Reuse, name_seed, shadow_name
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.network.tensors import Tensors

__all__ = ["Connection", "connect", "create_shadows", "create_variables", "penalty", "placeholders"]


@dataclass(frozen=True)
class Connection:
    """What connecting a network gives: tensors by path and by output name, and moving statistics to update."""

    tensors: Mapping[str, Any]
    outputs: Mapping[str, Any]
    updates: tuple[Update, ...]


def create_variables(spec: NetworkSpec, seed: int) -> dict[str, Any]:
    """Make the network's variables in the default graph, under ``variable_scope`` with the reuse of every layer.

    TensorFlow applies its own rules of reuse, so a list of names that differs from the graph cannot come about.

    Args:
        spec: the network.
        seed: seed of the run; a variable's first value depends on it and on the variable's name alone.

    Returns:
        Variables by full name, in the order in which they are made.
    """
    flags: dict[Reuse, Any] = {"false": None, "true": True, "auto": tf.AUTO_REUSE}
    made: dict[str, Any] = {}
    for layer in spec.layers:
        scope = layer.scope or tf.get_variable_scope()
        with tf.variable_scope(scope, reuse=flags[layer.reuse], auxiliary_name_scope=False):
            for local, full in layer.bindings.items():
                if local in layer.shared:
                    continue
                wanted = spec.variables[full]
                variable = tf.get_variable(
                    full[len(layer.scope) + 1 :] if layer.scope else full,
                    shape=wanted.shape,
                    dtype=wanted.dtype,
                    initializer=_initializer(wanted.initializer, (seed, name_seed(full))),
                    trainable=wanted.trainable,
                    use_resource=True,
                )
                assert variable.op.name == full, f"{variable.op.name} is not {full}"
                made[full] = variable
    return made


def _initializer(initializer: Any, seed: tuple[int, int]) -> Any:
    def initial(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        return initializer.initial(tuple(shape), dtype.base_dtype.name, seed)

    return initial


def create_shadows(variables: Mapping[str, Any], averaged: Iterable[str]) -> dict[str, Any]:
    """Make the averages' variables in the default graph, in the place of the variables they shadow.

    Returns:
        By the name of what they shadow: the average where it is averaged, the variable itself elsewhere.
    """
    shadows = dict(variables)
    for name in averaged:
        variable = variables[name]
        shadows[name] = tf.get_variable(
            shadow_name(name),
            shape=variable.shape,
            dtype=variable.dtype,
            initializer=tf.zeros_initializer(),
            trainable=False,
            use_resource=True,
        )
    return shadows


def placeholders(spec: NetworkSpec) -> dict[str, Any]:
    """Return a placeholder for every input, named as the input, batch size unknown."""
    return {name: tf.placeholder(item.dtype, (None, *item.shape), name=name) for name, item in spec.inputs.items()}


def connect(
    spec: NetworkSpec,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    training: bool = False,
    seed: int = 0,
    step: Any = None,
    compiled: bool = False,
    bfloat16: bool = False,
    parts: int = 1,
    after: Mapping[str, Any] | None = None,
) -> Connection:
    """Connect the network to inputs with given variables; a layer's output tensor is named by its path.

    Args:
        spec: the network.
        variables: by full name; averages in the variables' place give the averaged network.
        inputs: by name, [batch, ...]; in training the size of the batch is static.
        training: whether dropout drops and batch statistics are used.
        seed: seed of the run, for dropout.
        step: int64 scalar, for dropout; needed in training.
        compiled: whether XLA compiles what is connected.
        bfloat16: whether products are computed in bfloat16.
        parts: in how many parts of the batch, side by side, layers run that can.
        after: by full name of a variable: a tensor that is there before a layer reads it.
    """
    current = tf.get_default_graph().get_name_scope()
    prefix = f"{current}/" if current else ""
    tensors = Tensors(inputs, prefix, parts)
    updates: list[Update] = []
    for layer in spec.layers:
        waited_for = [after[full] for full in layer.bindings.values()] if after else []
        with tf.name_scope(f"{prefix}{layer.path}/"), tf.control_dependencies(waited_for):
            key = (seed * 1000003 + name_seed(layer.path)) % 2**32
            call = Call(training, key, step, compiled, bfloat16, parts)
            read = (*layer.inputs, *layer.named.values())
            in_parts = parts > 1 and _in_parts(layer, read, spec, tensors)
            bound = {
                local: tf.linalg.matrix_transpose(variables[full]) if layer.shared.get(local) else variables[full]
                for local, full in layer.bindings.items()
            }
            if in_parts:  # which read every variable once
                bound = {local: tf.convert_to_tensor(variable) for local, variable in bound.items()}
            results = []
            for part in range(parts if in_parts else 1):
                values = [tensors.parts(path)[part] if in_parts else tensors[path] for path in read]
                named = dict(zip(layer.named, values[len(layer.inputs) :], strict=True))
                result = layer.layer.apply(bound, Inputs(values[: len(layer.inputs)], named), call)
                results.append(result if isinstance(result, Mapping) else {"": result})
                _check(layer, results[-1])
        for name in results[0]:
            tensors.add(layer.tensor(name), [result[name] for result in results])
        updates += call.updates
    outputs = {
        name: tensors[path] if name == path else tf.identity(tensors[path], name=f"{prefix}{name}/")
        for name, path in spec.outputs.items()
    }
    return Connection(tensors, outputs, tuple(updates))


def _in_parts(layer: LayerSpec, read: Sequence[str], spec: NetworkSpec, tensors: Tensors) -> bool:
    """Return whether a layer that reads these paths runs over parts of the batch."""
    if layer.layer.apart == "follows":
        return all(tensors.is_apart(path) for path in read)
    return layer.layer.apart == "begins" and all(spec.tensors[path].batched for path in read)


def _check(layer: LayerSpec, results: Mapping[str, Any]) -> None:
    """Hold a layer to its word: what its kind said would come out has come out."""
    for name in dict.fromkeys([*layer.outputs, *results]):
        wanted, got = layer.outputs.get(name), results.get(name)
        if wanted is not None and got is not None:
            fits = tf.TensorShape([None if wanted.batched else 1, *wanted.shape]).is_compatible_with(got.shape)
            if fits and got.dtype.base_dtype.name == wanted.dtype:
                continue
        made = None if got is None else f"{got.shape} {got.dtype.base_dtype.name}"
        raise ConfigError(
            Problem(
                f"layer '{layer.path}'",
                f"kind '{layer.layer.kind}' says that {layer.tensor(name)} is {wanted}, but makes {made}; "
                "output_spec and apply must agree",
            )
        )


def penalty(spec: NetworkSpec, variables: Mapping[str, Any]) -> Any:
    """Return the float32 sum of all regularizers; 0 when there are none."""
    terms = []
    for name, wanted in spec.variables.items():
        if wanted.regularizer is not None:
            value = tf.convert_to_tensor(variables[name])
            if wanted.regularizer.l1:
                terms.append(wanted.regularizer.l1 * tf.reduce_sum(tf.abs(value)))
            if wanted.regularizer.l2:
                terms.append(wanted.regularizer.l2 * tf.reduce_sum(tf.square(value)))
    return tf.add_n(terms) if terms else tf.constant(0.0)

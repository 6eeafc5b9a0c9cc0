"""Variables and tensors of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

from expkit import tf1 as tf
from expkit.errors import ConfigError
from expkit.kinds.layers.base import Call, Inputs, Update
from expkit.kinds.layers.looped import Cell, Looped, with_dense_gradient
from expkit.kinds.numbers import is_fed
from expkit.kinds.random import of_time
from expkit.network.names import Reuse, ema_name, join, name_seed
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.network.state import initial_state, mismatch, next_state
from expkit.tensor_spec import TensorSpec

__all__ = [
    "Applier",
    "Connection",
    "Policy",
    "TrainingCall",
    "WholeBatch",
    "apply_layer",
    "bind",
    "connect",
    "create_variables",
    "placeholders",
]


@dataclass(frozen=True)
class Connection:
    """A connected network: tensors by path and by output name, and moving statistics to update."""

    tensors: Mapping[str, Any]
    outputs: Mapping[str, Any]
    updates: tuple[Update, ...]
    state: Mapping[str, Any]
    """State after this batch, by full name: what layers carry to the next."""


@dataclass(frozen=True)
class TrainingCall:
    """A training step for which layers are connected; random numbers are a function of both."""

    seed: Any
    """Seed of the run, a number or an int64 scalar tensor."""
    step: Any
    """int64 scalar."""

    def of(self, path: str) -> Call:
        """Return the call of the layer with this path."""
        return Call(training=True, key=_key(self.seed, path), step=self.step)


def _key(seed: Any, path: str) -> Any:
    """Return the key of a path under a seed or another key: a number, or a uint32 tensor, whose sums wrap around."""
    if is_fed(seed):
        return tf.cast(seed, tf.uint32) * tf.constant(1000003, tf.uint32) + tf.constant(name_seed(path), tf.uint32)
    return (seed * 1000003 + name_seed(path)) % 2**32


def create_variables(spec: NetworkSpec, seed: Any) -> dict[str, Any]:
    """Create the network's variables in the default graph, under ``variable_scope`` with the reuse of every layer.

    TensorFlow applies its own rules of reuse, so the names in the specification cannot differ from the graph's.

    Args:
        spec: the network.
        seed: seed of the run, a number or an int64 scalar tensor; a variable's initial value depends on it and on the
            variable's name alone.

    Returns:
        Variables by full name, in the order in which they are created.
    """
    flags: dict[Reuse, Any] = {"false": None, "true": True, "auto": tf.AUTO_REUSE}
    variables: dict[str, Any] = {}
    for layer in chain.from_iterable(creator.every_layer for creator in spec.creators):
        if layer.average is not None:
            continue  # Its original creates the variables.
        scope = layer.scope or tf.get_variable_scope()
        with tf.variable_scope(scope, reuse=flags[layer.reuse], auxiliary_name_scope=False):
            for local, full in layer.bindings.items():
                if local in layer.shared or full not in spec.variables:
                    continue
                declared = spec.variables[full]
                variable = tf.get_variable(
                    full[len(layer.scope) + 1 :] if layer.scope else full,
                    shape=declared.shape,
                    dtype=declared.dtype,
                    initializer=_initializer(declared.initializer, (seed, name_seed(full))),
                    trainable=declared.trainable,
                    use_resource=True,
                )
                assert variable.op.name == full, f"{variable.op.name} is not {full}"
                variables[full] = variable
    return variables


def _initializer(initializer: Any, seed: tuple[Any, int]) -> Any:
    def initial(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        return initializer.initial(tuple(shape), dtype.base_dtype.name, seed)

    return initial


def placeholders(spec: NetworkSpec, read: Mapping[str, TensorSpec] | None = None) -> dict[str, Any]:
    """Return a placeholder for every input, named as the input, batch size unknown.

    Args:
        spec: the network.
        read: names, shapes and dtypes of what is read in place of the network's inputs.
    """
    return {
        name: tf.placeholder(item.dtype, (None, *item.shape), name=name)
        for name, item in (spec.inputs if read is None else read).items()
    }


class Applier(Protocol):
    """Applies the layers of a network, one after the other, and holds their tensors."""

    @property
    def tensors(self) -> Mapping[str, Any]:
        """Tensors by path: the network's inputs and the outputs of the layers applied so far."""

    def apply(self, layer: LayerSpec, variables: Mapping[str, Any], call: Call) -> None:
        """Apply a layer, given all variables by full name."""


Policy = Callable[[NetworkSpec, Mapping[str, Any], str], Applier]
"""Returns the applier of a network, given its inputs and the prefix of the names that tensors get."""


class WholeBatch:
    """Applies every layer once, to the whole batch."""

    def __init__(self, spec: NetworkSpec, inputs: Mapping[str, Any], prefix: str) -> None:
        """Hold a network's inputs."""
        self.tensors = dict(inputs)
        self._prefix = prefix

    def apply(self, layer: LayerSpec, variables: Mapping[str, Any], call: Call) -> None:
        """Apply a layer in its name scope."""
        with tf.name_scope(f"{self._prefix}{layer.path}/"):
            outputs = apply_layer(layer, bind(layer, variables), self.tensors.__getitem__, call)
        for path, output in outputs.items():
            self.tensors[path] = tf.identity(output, name=f"{self._prefix}{path}/")


def connect(
    spec: NetworkSpec,
    variables: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    training: TrainingCall | None = None,
    seed: int = 0,
    policy: Policy = WholeBatch,
) -> Connection:
    """Connect the network to inputs with given variables; a layer's output tensor is named by its path.

    Args:
        spec: the network.
        inputs: by name, [batch, ...], and the state after the previous batch by full name, by default zeros; in
            training the size of the batch is static.
        variables: by full name; EMA variables in place of the raw ones give the EMA network. Those of ``spec.averaged``
            have their EMA under its name, too.
        training: seed and step in training, where dropout drops and batch statistics are used; ``None`` outside.
        seed: seed of the run, outside training, for layers that draw random numbers there.
        policy: how layers are applied.
    """
    current = tf.get_default_graph().get_name_scope()
    prefix = f"{current}/" if current else ""
    applier = policy(spec, {**inputs, **initial_state(spec, inputs)}, prefix)
    updates: list[Update] = []
    for layer in spec.layers:
        if training is None or (layer.average is not None and not layer.average.training):
            call = Call(training=False, key=_key(seed, layer.path))
        else:
            call = training.of(layer.path)
        applier.apply(layer, variables, call)
        if layer.average is None:
            updates += call.updates
    tensors = applier.tensors
    outputs = {
        name: tensors[path] if name == path else tf.identity(tensors[path], name=f"{prefix}{name}/")
        for name, path in spec.outputs.items()
    }
    return Connection(tensors, outputs, tuple(updates), {name: tensors[_after(name)] for name in spec.state})


def _after(state: str) -> str:
    """Return the path of the tensor that is a state after a batch."""
    return f"{state}/next"


def bind(layer: LayerSpec, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer's variables by the names it calls them: for an average their EMA, as far as they are trained."""
    names = _bound_names(layer)
    return {
        local: tf.linalg.matrix_transpose(variables[name]) if layer.shared.get(local) else variables[name]
        for local, name in names.items()
    }


def _bound_names(layer: LayerSpec) -> dict[str, str]:
    return {local: ema_name(full) if full in layer.averaged else full for local, full in layer.bindings.items()}


def apply_layer(layer: LayerSpec, bound: Mapping[str, Any], read: Callable[[str], Any], call: Call) -> dict[str, Any]:
    """Return a layer's outputs and the state after them, by path.

    Args:
        layer: the layer.
        bound: its variables, by the names it calls them.
        read: returns the tensor of a path.
        call: training or not; takes moving statistics.

    Raises:
        ConfigError: ``apply`` and ``output_spec`` do not agree.
    """
    inputs = [read(path) for path in layer.inputs]
    named = {field: read(path) for field, path in layer.named.items()}
    own = replace(call, state={name: read(layer.state_variable(name)) for name in layer.state}, next_state={})
    if layer.cell is not None:
        assert isinstance(layer.layer, Looped)
        result = layer.layer.run(_cell(layer, layer.cell, bound, call), Inputs(inputs, named), own)
    else:
        result = layer.layer.apply(bound, Inputs(inputs, named), own)
    outputs = result if isinstance(result, Mapping) else {"": result}
    if layer.average is not None:
        outputs = {name: tf.stop_gradient(output) for name, output in outputs.items()}
    _check(layer, outputs)
    after = {_after(name): value for name, value in next_state(layer, own.next_state).items()}
    return {layer.tensor(name): output for name, output in outputs.items()} | after


def _cell(layer: LayerSpec, spec: NetworkSpec, bound: Mapping[str, Any], call: Call) -> Cell:
    """Return the cell of a layer; random numbers in it are a function of the index of the step, too."""
    assert isinstance(layer.layer, Looped)
    training = call.training and layer.layer.trains
    # Read once, before all steps.
    variables = {full: tf.convert_to_tensor(bound[local]) for local, full in _bound_names(layer).items()}
    if training:
        variables = {full: with_dense_gradient(variable) for full, variable in variables.items()}

    def step(read: Mapping[str, Any], index: Any) -> Mapping[str, Any]:
        tensors = {join(layer.path, name): tensor for name, tensor in read.items()}
        now = None if call.step is None else of_time(call.step, index)
        for inner in spec.layers:
            own = Call(training=training, key=_key(call.key, inner.path), step=now)
            with tf.name_scope(inner.path.removeprefix(f"{layer.path}/")):
                tensors |= apply_layer(inner, bind(inner, variables), tensors.__getitem__, own)
            assert not own.updates, f"{inner.path} moves statistics"
        return {name: tensors[path] for name, path in spec.outputs.items()}

    outputs = {name: spec.output_spec(name) for name in spec.outputs}
    return Cell(outputs=outputs, step=step)


def _check(layer: LayerSpec, results: Mapping[str, Any]) -> None:
    """Check that ``apply`` returned what ``output_spec`` declared."""
    for name in dict.fromkeys([*layer.outputs, *results]):
        declared = layer.outputs.get(name)
        if (got := mismatch(declared, results.get(name))) is not None:
            raise ConfigError.at(
                f"layer '{layer.path}'",
                f"kind '{layer.layer.kind}' declares {layer.tensor(name)} as {declared}, but returns {got}; "
                "output_spec and apply must agree",
            )

"""The execution policy: how the layers of a training step are applied on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from expkit import tf1 as tf
from expkit.kinds.layers.base import Call
from expkit.kinds.layers.operations import Operations, using
from expkit.machine import cores
from expkit.network.build import apply_layer, bind
from expkit.network.spec import LayerSpec, NetworkSpec
from expkit.training.cpu_gradients import cheaper_gradients
from expkit.training.execution import Execution
from expkit.training.products import split_product
from expkit.training.shards import ShardedTensors

__all__ = [
    "TrainedLayers",
    "Traits",
    "batch_at",
    "may_overlap",
    "slow_with_xla",
    "suits_shards",
    "traits",
    "uses_workspace",
]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Properties of a kind of layer on which its speed depends; the defaults are right for any layer."""

    shardable: Literal["never", "inherits", "starts"] = "never"
    """Whether it may be applied to batch shards in parallel: each output depends on its own example only.

    ``inherits``: where its inputs are sharded; ``starts``: anywhere, because its work is large beside its variables,
    whose gradients are added up.
    """
    slow_with_xla: bool = False
    """Whether XLA makes it slower on a CPU."""
    splits_products: bool = False
    """Whether its products may be split, and separated from their bias."""
    uses_workspace: bool = False
    """Whether it is known to use oneDNN's workspace; of other layers the graph shows it."""


_CONVOLUTION = Traits(shardable="starts", slow_with_xla=True)
_WINDOWS = Traits(shardable="inherits", slow_with_xla=True)
_KEPT_WINDOWS = Traits(shardable="inherits", slow_with_xla=True, uses_workspace=True)
_TRAITS = {
    "activation": Traits(shardable="inherits"),
    "average_pool": _WINDOWS,
    "conv1d": _CONVOLUTION,
    "conv2d": _CONVOLUTION,
    "conv2d_transpose": _CONVOLUTION,
    "conv3d": _CONVOLUTION,
    "dense": Traits(splits_products=True),
    "depthwise_conv2d": _CONVOLUTION,
    "global_average_pool": _WINDOWS,
    "global_max_pool": _WINDOWS,
    "gru": Traits(shardable="starts"),
    "local_response_norm": _KEPT_WINDOWS,
    "lstm": Traits(shardable="starts"),
    "max_pool": _KEPT_WINDOWS,
    "pad": Traits(shardable="inherits"),
    "resize": _WINDOWS,
    "separable_conv2d": _CONVOLUTION,
}


def traits(kind: str) -> Traits:
    """Return the traits of a kind of layer."""
    return _TRAITS.get(kind, Traits())


class TrainedLayers:
    """The layers of one training step: in batch shards where that is faster, each after its variables were updated."""

    def __init__(
        self,
        execution: Execution,
        shards: int,
        updated: Mapping[str, Any],
        spec: NetworkSpec,
        inputs: Mapping[str, Any],
        prefix: str,
    ) -> None:
        """Hold a network's inputs.

        Args:
            execution: how steps are run.
            shards: number of shards of a batch.
            updated: by full name of a variable: a tensor that exists once the previous step has updated it; empty where
                steps do not overlap.
            spec: the network.
            inputs: by path, [batch, ...]; the size of the batch is static.
            prefix: of the names that tensors get.
        """
        self.tensors = ShardedTensors(inputs, prefix, shards)
        self._execution = execution
        self._shards = shards
        self._updated = updated
        self._spec = spec
        self._prefix = prefix

    def apply(self, layer: LayerSpec, variables: Mapping[str, Any], call: Call) -> None:
        """Apply a layer in its name scope, to all shards or to the whole batch."""
        awaited = [self._updated[full] for full in layer.bindings.values()] if self._updated else []
        with (
            tf.name_scope(f"{self._prefix}{layer.path}/"),
            tf.control_dependencies(awaited),
            cheaper_gradients(self._execution, self._shards),
            using(self._operations(layer)),
        ):
            bound = bind(layer, variables)
            if self._is_sharded(layer):
                # Each variable is read once.
                bound = {local: tf.convert_to_tensor(variable) for local, variable in bound.items()}
                results = [
                    apply_layer(layer, bound, partial(self.tensors.shard, number), call)
                    for number in range(self._shards)
                ]
            else:
                results = [apply_layer(layer, bound, self.tensors.__getitem__, call)]
        for path in results[0]:
            self.tensors.add(path, [result[path] for result in results])

    def _is_sharded(self, layer: LayerSpec) -> bool:
        """Return whether a layer is applied to shards of the batch."""
        shardable, read = traits(layer.layer.kind).shardable, (*layer.inputs, *layer.named.values())
        if self._shards == 1 or shardable == "never":
            return False
        if shardable == "inherits":
            return all(self.tensors.is_sharded(path) for path in read)
        return all(self._spec.tensors[path].batched for path in read)

    def _operations(self, layer: LayerSpec) -> Operations:
        unrolls = self._execution.jit_compile is not True  # XLA compiles a loop sooner, and runs it faster.
        if not traits(layer.layer.kind).splits_products:
            return Operations(unrolls_loops=unrolls)
        bfloat16 = self._execution.precision == "bfloat16"
        product = partial(split_product, splits=self._shards, bfloat16=bfloat16)
        return Operations(product=product, unrolls_loops=unrolls)


def slow_with_xla(spec: NetworkSpec) -> list[str]:
    """Return the kinds of a network's layers that XLA makes slower on a CPU."""
    return sorted({layer.layer.kind for layer in spec.every_layer if traits(layer.layer.kind).slow_with_xla})


def suits_shards(spec: NetworkSpec, shards: int) -> bool:
    """Return whether a network may be faster in this number of batch shards, with one core for every operation.

    With windows over images it is not where cores are left over, nor where images are joined, for batch statistics as a
    rule, and sharded again.
    """
    sharded: set[str] = set()
    joined: set[str] = set()
    for layer in spec.layers:
        known = traits(layer.layer.kind)
        read, outputs = {*layer.inputs, *layer.named.values()}, map(layer.tensor, layer.outputs)
        if known.shardable == "starts":
            if known.slow_with_xla and (read & joined or shards < cores()):
                return False
            sharded.update(outputs)
        elif known.shardable == "inherits" and read <= sharded:
            sharded.update(outputs)
        elif read & (sharded | joined):
            joined.update(outputs)
    return shards > 1 and bool(sharded)


def may_overlap(spec: NetworkSpec, execution: Execution) -> bool:
    """Return whether a step may begin before the previous one has ended; it must not if ``uses_workspace``, either."""
    # XLA runs the steps of a loop one after the other.
    return execution.jit_compile is not True and not any(
        traits(layer.layer.kind).uses_workspace for layer in spec.every_layer
    )


_WORKSPACE_OPERATIONS = {"LRN", "MaxPool", "MaxPool3D"}
"""Operations whose gradient reads oneDNN's workspace: the intermediate results that oneDNN kept of the operation.

TensorFlow pairs the two as it goes over a graph along its edges. In a loop whose steps overlap, edges go around, and in
one session it pairs them and in the next it does not, by chance.
"""


def uses_workspace(graph: Any) -> bool:
    """Return whether an operation of a graph, or of a function in it, uses oneDNN's workspace."""
    definition = graph.as_graph_def()
    bodies: Iterable[Any] = (definition.node, *(function.node_def for function in definition.library.function))
    return any(node.op in _WORKSPACE_OPERATIONS for nodes in bodies for node in nodes)


def batch_at(batches: Any, index: Any, execution: Execution) -> Any:
    """Return one of the batches of a chunk.

    TensorFlow's rewrite would cast a whole chunk to bfloat16 in every call; it does not where a chunk is read as int32.
    """
    if execution.precision == "bfloat16" and batches.dtype == tf.float32:
        return tf.bitcast(tf.bitcast(batches, tf.int32)[index], tf.float32)
    return batches[index]

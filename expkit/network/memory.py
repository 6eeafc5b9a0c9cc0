"""Memory that a network needs, before any of it exists."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from expkit.errors import Problem
from expkit.machine import machine_memory, size_text
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import TensorSpec

__all__ = ["memory_problems"]

_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "uint8": 1, "bool": 1}
LARGEST_GRAPH = 2**31
"""Size in bytes that the file of a TensorFlow graph cannot reach."""


def memory_problems(
    spec: NetworkSpec, ema_names: Collection[str], *, batch_size: int, freezes: bool
) -> Iterator[Problem]:
    """Yield why the network cannot be trained on this machine: lower bounds of what it needs, held against its memory.

    Args:
        spec: the network.
        ema_names: variables that have an EMA.
        batch_size: examples of a batch.
        freezes: whether its variables are to be written into one file.
    """
    memory = machine_memory()
    sizes = {name: variable.size * _BYTES[variable.dtype] for name, variable in spec.variables.items()}
    stored, frozen = sum(sizes.values()), sum(sizes[name] for name in spec.served.variables)
    needed = 2 * (stored + sum(sizes[name] for name in ema_names))
    if sizes:
        largest = max(sizes, key=lambda name: sizes[name])
        what = f"the largest is '{largest}' {list(spec.variables[largest].shape)}"
        if needed > memory:
            yield Problem(
                "network.layers",
                f"the variables, with their EMA, need {size_text(needed)} to be trained and evaluated, this machine "
                f"has {size_text(memory)}; {what}; decrease sizes",
            )
        elif freezes and frozen >= LARGEST_GRAPH:
            yield Problem(
                "export.enabled",
                f"the variables need {size_text(frozen)}, a frozen graph holds less than {size_text(LARGEST_GRAPH)}; "
                f"{what}; decrease sizes, or set export.enabled: false",
            )
    trained = {path for path, _ in _every_tensor(spec.trained)}
    for path, item in _every_tensor(spec):
        size = _size(item, batch_size if path in trained else 1)
        if size > memory:
            at = f"inputs.{path}" if path in spec.inputs else f"layers.{path.replace('/', '.layers.')}"
            batch = f" for a batch of {batch_size}" if item.batched and path in trained else ""
            yield Problem(
                f"network.{at}",
                f"'{path}' {item} needs {size_text(size)}{batch}, this machine has {size_text(memory)}; decrease sizes "
                "or train.batch_size",
            )


def _every_tensor(spec: NetworkSpec) -> Iterator[tuple[str, TensorSpec]]:
    """Yield the tensors with their paths, those of one step of cells included."""
    yield from spec.tensors.items()
    for layer in spec.layers:
        if layer.cell is not None:
            yield from _every_tensor(layer.cell)


def _size(item: TensorSpec, batch_size: int) -> int:
    """Return the least size of a tensor in bytes."""
    examples = batch_size if item.batched else 1
    return examples * math.prod(size or 1 for size in item.shape) * _BYTES[item.dtype]

"""Snapshots: all variables as they are at one step, written from the session while steps go on."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf

__all__ = ["LARGEST_SHARD_BYTES", "Snapshot", "add_snapshot", "shards"]

LARGEST_SHARD_BYTES = 1 << 30
"""How much a data file of a checkpoint may hold, unless one variable is larger."""


@dataclass(frozen=True)
class Snapshot:
    """Operations on a snapshot; it is taken and then written, once each, by turns."""

    take: Any
    """Operation that holds the values; a variable is copied when a step changes it, which then gets new memory."""
    prefix: Any
    """Placeholder, string: where to write."""
    write: Any
    """Operation that writes the values that are held and lets go of them."""
    finite: Any
    """Whether those that training changes are finite, a scalar."""


def add_snapshot(variables: Mapping[str, Any], changed: Collection[str]) -> Snapshot:
    """Add the operations to the current graph.

    Args:
        variables: by the names they are written under.
        changed: names of those that training changes; their sums must be finite (of half precision: in float32).
    """
    names = sorted(variables)
    with tf.name_scope("snapshot"):
        values = [variables[name].read_value() for name in names]
        take = tf.raw_ops.Stage(values=values, shared_name="snapshot")
        prefix = tf.placeholder(tf.string, (), name="prefix")
        held = tf.raw_ops.Unstage(dtypes=[value.dtype for value in values], shared_name="snapshot")
        by_name = dict(zip(names, held, strict=True))
        write = _write(prefix, by_name, {name: variables[name] for name in names})
        floats = [by_name[name] for name in names if name in changed and variables[name].dtype.is_floating]
        sums = [tf.reduce_sum(value if value.dtype.size > 2 else tf.cast(value, tf.float32)) for value in floats]
        finite = tf.reduce_all([tf.is_finite(total) for total in sums]) if sums else tf.constant(True)
    return Snapshot(take, prefix, write, finite)


def shards(sizes: Mapping[str, int], largest: int) -> list[list[str]]:
    """Return names in groups whose sizes together are at most the largest, in their order; one name may be larger."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if groups[-1] and filled + size > largest:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups


def _write(prefix: Any, values: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
    """Return the operation that writes values as ``tf.train.Saver`` does, to several files when they are large."""
    sizes = {name: math.prod(item.shape.as_list()) * item.dtype.size for name, item in variables.items()}
    parts = shards(sizes, LARGEST_SHARD_BYTES)
    if len(parts) == 1:
        return _save(prefix, parts[0], values)
    places = [tf.strings.join([prefix, f"_parts/{number}"]) for number in range(len(parts))]
    with tf.control_dependencies([_save(*each, values) for each in zip(places, parts, strict=True)]):
        return tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=tf.stack(places), destination_prefix=prefix, delete_old_dirs=True
        )


def _save(prefix: Any, names: Sequence[str], values: Mapping[str, Any]) -> Any:
    return tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(names),
        shape_and_slices=[""] * len(names),
        tensors=[values[name] for name in names],
    )

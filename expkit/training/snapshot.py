"""Snapshots: the values of all variables at one step, written from the session while steps continue."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expkit import tf1 as tf

__all__ = ["LARGEST_SHARD_BYTES", "Snapshot", "add_snapshot", "shards"]

LARGEST_SHARD_BYTES = 1 << 30
"""Maximum size of a data file of a checkpoint, unless one variable is larger."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Operations on a snapshot, which is taken and then written, once each, in turns."""

    take: Any
    """Operation that holds the values; a step that changes a variable gives it new memory."""
    prefix: Any
    """Placeholder, string: path to write to."""
    write: Any
    """Operation that writes the held values and releases them."""
    finite: Any
    """Whether all values that training changes are finite, a scalar."""


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
    return Snapshot(take=take, prefix=prefix, write=write, finite=finite)


def shards(sizes: Mapping[str, int], largest: int) -> list[list[str]]:
    """Return names in groups of at most ``largest`` bytes, in their order; a single name may be larger."""
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
    groups = shards(sizes, LARGEST_SHARD_BYTES)
    if len(groups) == 1:
        return _save(prefix, groups[0], values)
    prefixes = [tf.strings.join([prefix, f"_parts/{number}"]) for number in range(len(groups))]
    with tf.control_dependencies([_save(*each, values) for each in zip(prefixes, groups, strict=True)]):
        return tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=tf.stack(prefixes), destination_prefix=prefix, delete_old_dirs=True
        )


def _save(prefix: Any, names: Sequence[str], values: Mapping[str, Any]) -> Any:
    return tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(names),
        shape_and_slices=[""] * len(names),
        tensors=[values[name] for name in names],
    )

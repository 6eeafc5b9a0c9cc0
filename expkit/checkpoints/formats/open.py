"""Reading variables by name from whatever holds some: checkpoints of TensorFlow in all its formats, files of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.checkpoints.formats.arrays import open_npz, open_safetensors
from expkit.checkpoints.formats.locate import find
from expkit.checkpoints.formats.source import Source, damage_told
from expkit.checkpoints.formats.tf_v2 import Entry, read_index

__all__ = ["Source", "open_source"]

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_CONFIG = "/.ATTRIBUTES/OBJECT_CONFIG_JSON"


def open_source(source: str | Path, at: str) -> Source:
    """Open what a user means: a prefix, a folder of checkpoints, a run, a SavedModel, a V1, .npz or safetensors file.

    Names, shapes and dtypes are read at once, values by ``Source.read`` alone. The variables of an object-based
    checkpoint go by the full names that they had in the program; where several of other values had the same, each by
    its path from object to object (``model/layer-1/kernel``). Several of the same full name and the same values are
    one variable, listed once: only to tell that are values read at once.

    Args:
        source: what the user wrote.
        at: where the user wrote it (``restore.from``), for errors.

    Raises:
        CheckpointError: there is none; it is damaged; it is of no known format.
    """
    found = find(str(source), at)
    with damage_told(found.path, at):
        if found.format == "npz":
            return open_npz(found.path, at)
        if found.format == "safetensors":
            return open_safetensors(found.path, at)
        if found.format == "v2" and _OBJECT_GRAPH not in (entries := read_index(found.path)):
            return _named(found.path, entries, at)
        reader = tf.train.load_checkpoint(str(found.path))
        shapes = {name: tuple(shape) for name, shape in sorted(reader.get_variable_to_shape_map().items())}
        dtypes = {name: str(dtype.name) for name, dtype in reader.get_variable_to_dtype_map().items()}
        if _OBJECT_GRAPH not in shapes:
            return Source(found.path, found.format.upper(), shapes, dtypes, reader.get_tensor, at)
        keys = _object_names(reader, shapes, dtypes)
        return Source(
            found.path,
            "object-based",
            {name: shapes[key] for name, key in sorted(keys.items())},
            {name: dtypes[key] for name, key in sorted(keys.items())},
            lambda name: reader.get_tensor(keys[name]),
            at,
        )


def _named(prefix: Path, entries: Mapping[str, Entry], at: str) -> Source:
    """Return the variables of a name-based checkpoint; TensorFlow is imported for the first value."""
    reader = cache(lambda: tf.train.load_checkpoint(str(prefix)))
    shapes = {name: entry.shape for name, entry in sorted(entries.items())}
    dtypes = {name: entries[name].dtype for name in shapes}
    return Source(prefix, "V2", shapes, dtypes, lambda name: reader().get_tensor(name), at)


def _object_names(reader: Any, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]) -> dict[str, str]:
    """Return the key of an object-based checkpoint by the name that its variable goes by."""
    paths = {key: key.removesuffix(_VALUE) for key in shapes if key != _OBJECT_GRAPH and not key.endswith(_CONFIG)}
    graph = tf.object_graph_proto().FromString(reader.get_tensor(_OBJECT_GRAPH))
    of_name: dict[str, list[str]] = {}
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.full_name and attribute.checkpoint_key in paths and attribute.checkpoint_key.endswith(_VALUE):
                of_name.setdefault(attribute.full_name, []).append(attribute.checkpoint_key)
    named = {}
    for name, keys in of_name.items():
        first, *others = sorted(set(keys))
        if all(_same(reader, first, other, shapes, dtypes) for other in others):
            named[name] = first
            for key in (first, *others):
                paths.pop(key, None)
    names = {**named, **{path: key for key, path in paths.items()}}
    if len(names) < len(named) + len(paths):  # The full name of one is the path of another.
        return {key.removesuffix(_VALUE): key for key in (*named.values(), *paths)}
    return names


def _same(
    reader: Any, first: str, other: str, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
) -> bool:
    alike = shapes[first] == shapes[other] and dtypes[first] == dtypes[other]
    if not alike or dtypes[first] == "string":
        return False
    return bool(reader.get_tensor(first).tobytes() == reader.get_tensor(other).tobytes())

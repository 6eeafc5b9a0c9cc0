"""Variables of any supported format, opened by name: checkpoints of TensorFlow or files of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.checkpoints.formats.arrays import open_npz, open_safetensors
from expkit.checkpoints.formats.locate import locate
from expkit.checkpoints.formats.source import USE_ANOTHER, VariableSource
from expkit.checkpoints.formats.tf_v2 import read_index
from expkit.errors import CheckpointError, reading
from expkit.tensor_spec import TensorSpec

__all__ = ["open_variables"]

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_CONFIG = "/.ATTRIBUTES/OBJECT_CONFIG_JSON"


def open_variables(source: str | Path, at: str, *, by_key: bool = False) -> VariableSource:
    """Open a checkpoint prefix, a folder of checkpoints, a run, a SavedModel, or a V1, .npz or safetensors file.

    Names, shapes and dtypes are read at once, values only by ``VariableSource.read``. A variable of an object-based
    checkpoint has the full name that it had in the program; where several with different values had the same name, each
    has its object path instead (``model/layer-1/kernel``). Several with the same full name and equal values are listed
    once; only this comparison reads values at once.

    Args:
        source: path given by the user.
        at: setting or argument that gave it (``restore.from``), for errors.
        by_key: name the variables of an object-based checkpoint as its keys.

    Raises:
        CheckpointError: it is missing, damaged, or of an unknown format.
    """
    found = locate(str(source), at)
    with reading(at, f"{found.path} is damaged or incomplete", raises=CheckpointError, fix=USE_ANOTHER):
        if found.format == "npz":
            return open_npz(found.path, at)
        if found.format == "safetensors":
            return open_safetensors(found.path, at)
        if found.format == "v2" and (_OBJECT_GRAPH not in (variables := read_index(found.path)) or by_key):
            return _name_based(found.path, variables, at)
        reader = tf.train.load_checkpoint(str(found.path))
        dtypes = reader.get_variable_to_dtype_map()
        variables = {
            name: TensorSpec.of_variable(shape, str(dtypes[name].name))
            for name, shape in sorted(reader.get_variable_to_shape_map().items())
        }
        if _OBJECT_GRAPH not in variables:
            return VariableSource(
                path=found.path, format=found.format.upper(), variables=variables, get=reader.get_tensor, at=at
            )
        keys = _object_names(reader, variables)
        return VariableSource(
            path=found.path,
            format="object-based",
            variables={name: variables[key] for name, key in sorted(keys.items())},
            get=lambda name: reader.get_tensor(keys[name]),
            at=at,
        )


def _name_based(prefix: Path, variables: Mapping[str, TensorSpec], at: str) -> VariableSource:
    """Return the variables of a name-based checkpoint; only reading a value imports TensorFlow."""
    reader = cache(lambda: tf.train.load_checkpoint(str(prefix)))
    return VariableSource(
        path=prefix,
        format="V2",
        variables=dict(sorted(variables.items())),
        get=lambda name: reader().get_tensor(name),
        at=at,
    )


def _object_names(reader: Any, variables: Mapping[str, TensorSpec]) -> dict[str, str]:
    """Return the keys of an object-based checkpoint, by variable name."""
    paths = {key: key.removesuffix(_VALUE) for key in variables if key != _OBJECT_GRAPH and not key.endswith(_CONFIG)}
    graph = tf.object_graph_proto().FromString(reader.get_tensor(_OBJECT_GRAPH))
    keys_of: dict[str, list[str]] = {}
    for node in graph.nodes:
        for attribute in node.attributes:
            if attribute.full_name and attribute.checkpoint_key in paths and attribute.checkpoint_key.endswith(_VALUE):
                keys_of.setdefault(attribute.full_name, []).append(attribute.checkpoint_key)
    named = {}
    for name, keys in keys_of.items():
        first, *others = sorted(set(keys))
        if all(_equal(reader, first, other, variables) for other in others):
            named[name] = first
            for key in (first, *others):
                paths.pop(key, None)
    names = {**named, **{path: key for key, path in paths.items()}}
    if len(names) < len(named) + len(paths):  # The full name of one is the path of another.
        return {key.removesuffix(_VALUE): key for key in (*named.values(), *paths)}
    return names


def _equal(reader: Any, first: str, other: str, variables: Mapping[str, TensorSpec]) -> bool:
    if variables[first] != variables[other] or variables[first].dtype == "string":
        return False
    return bool(reader.get_tensor(first).tobytes() == reader.get_tensor(other).tobytes())

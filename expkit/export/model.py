"""Loader of a frozen graph without expkit: MLflow keeps this file with it, and nothing else of expkit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["ServedGraph"]

_METADATA = "_expkit"  # as export/freeze.py writes it


class ServedGraph:
    """A frozen graph in its own session, which lives as long as the model."""

    def __init__(self, path: str) -> None:
        import tensorflow.compat.v1 as tf

        graph_def = tf.GraphDef()
        with open(path, "rb") as file:
            graph_def.ParseFromString(file.read())
        self._metadata = json.loads(next(node for node in graph_def.node if _METADATA in node.attr).attr[_METADATA].s)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
        graph.finalize()
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True  # run as written: evaluation's numbers
        self._session = tf.Session(graph=graph, config=config)

    def predict(self, inputs: Any) -> dict[str, np.ndarray]:
        """Return the outputs of a batch, given as arrays by input name, or as a pandas table.

        Of a graph that was trained on a table these are its columns, by name and in any order; of others a column for
        each input.
        """
        expected = self._metadata["inputs"]
        arrays = inputs if isinstance(inputs, Mapping) else self._of_table(inputs)
        feed = {f"{name}:0": _cast(np.asarray(arrays[name]), expected[name]["dtype"]) for name in expected}
        outputs = self._session.run({name: f"{name}:0" for name in self._metadata["outputs"]}, feed)
        return {
            name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
            for name, array in outputs.items()
        }

    def _of_table(self, table: Any) -> dict[str, np.ndarray]:
        """Return the inputs that the columns of a pandas table hold."""
        found = {}
        for name, item in self._metadata["inputs"].items():
            columns = self._metadata.get("columns", {}).get(name)
            if columns is None:
                values = table[name].to_numpy()
                found[name] = np.stack(list(values)) if len(item["shape"] or ()) > 1 else values
            elif item["shape"][1:]:
                found[name] = np.stack([_numbers(table[column]) for column in columns], axis=1)
            elif item["dtype"].startswith("float"):
                found[name] = _numbers(table[columns[0]])
            else:
                found[name] = table[columns[0]].to_numpy()
        return found


def _numbers(column: Any) -> np.ndarray:
    """Return the numbers of a column of a pandas table, NaN where one is missing."""
    if column.dtype.kind in "mM":
        raise ValueError(f"column '{column.name}' has times, and the graph reads numbers")
    return np.asarray(column.to_numpy(np.float64, na_value=np.nan))


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array in the dtype of an input; text as UTF-8, missing text as the empty one."""
    if dtype != "string":
        return array.astype(dtype)
    encoded = np.empty(array.size, object)
    encoded[:] = [_octets(value) for value in array.reshape(-1).tolist()]
    return encoded.reshape(array.shape)


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    equal = value == value  # NaN is not; pandas' NA is neither equal nor unequal
    return str(value).encode("utf-8") if value is not None and isinstance(equal, (bool, np.bool_)) and equal else b""


def _load_pyfunc(path: str) -> ServedGraph:
    """Return the model of a frozen graph's file; MLflow calls it by this name."""
    return ServedGraph(path)

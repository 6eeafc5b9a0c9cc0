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

    def predict(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the outputs of a batch, given as arrays by input name."""
        expected = self._metadata["inputs"]
        feed = {f"{name}:0": _cast(np.asarray(inputs[name]), expected[name]["dtype"]) for name in expected}
        outputs = self._session.run({name: f"{name}:0" for name in self._metadata["outputs"]}, feed)
        return {
            name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array
            for name, array in outputs.items()
        }


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array in the dtype of an input; text as UTF-8."""
    if dtype != "string":
        return array.astype(dtype)
    encoded = [value.encode("utf-8") if isinstance(value, str) else value for value in array.reshape(-1).tolist()]
    return np.array(encoded, object).reshape(array.shape)


def _load_pyfunc(path: str) -> ServedGraph:
    """Return the model of a frozen graph's file; MLflow calls it by this name."""
    return ServedGraph(path)

"""Conversion to SavedModels, which are written as they stand: no session is needed where there are no variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.export.converters.job import Conversion

__all__ = ["RAW", "SERVING", "convert", "write_saved_model"]

RAW, SERVING = "raw", "serving_default"


def convert(job: Conversion) -> None:
    """Write a SavedModel."""
    second = job.second_inputs
    write_saved_model(job, {SERVING: job.inputs} if second is None else {RAW: job.inputs, SERVING: second})


def write_saved_model(
    job: Conversion,
    signatures: Mapping[str, Mapping[str, Any]],
    change: Callable[[Any], Any] = lambda graph_def: graph_def,
) -> Any:
    """Write the graph of a job as a SavedModel, and return the graph that is in it.

    Args:
        job: the graph, its outputs and the folder to write.
        signatures: inputs by name of the signature.
        change: takes the graph, and returns the one that is written.
    """
    saved = tf.saved_model_proto()(saved_model_schema_version=1)
    meta_graph = saved.meta_graphs.add()
    meta_graph.graph_def.MergeFromString(Path(job.graph).read_bytes())
    if (changed := change(meta_graph.graph_def)) is not meta_graph.graph_def:
        meta_graph.graph_def.CopyFrom(changed)
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.meta_info_def.tensorflow_version = tf.version.VERSION
    for name, inputs in signatures.items():
        signature = meta_graph.signature_def[name]
        signature.method_name = "tensorflow/serving/predict"
        for items, infos in ((inputs, signature.inputs), (job.outputs, signature.outputs)):
            for key, item in items.items():
                infos[key].name = item["tensor"]
                infos[key].dtype = tf.as_dtype(item["dtype"]).as_datatype_enum
                infos[key].tensor_shape.CopyFrom(tf.TensorShape(item["shape"]).as_proto())
    Path(job.into).mkdir()
    (Path(job.into) / "saved_model.pb").write_bytes(saved.SerializeToString())
    return meta_graph.graph_def

"""The target ``savedmodel``: TensorFlow's own folder, with signatures for both doors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from expkit import tf1 as tf
from expkit.export.doors import Door
from expkit.export.targets.base import ExportOptions, ExportSource
from expkit.export.targets.converting import Conversion
from expkit.export.targets.graph_target import GraphTarget

__all__ = ["TARGET", "write_saved_model"]

RAW, SERVING = "raw", "serving_default"


class SavedModelTarget(GraphTarget):
    """A SavedModel without variables and assets.

    The signature ``serving_default`` reads tensors as the network does; where there is preprocessing, ``raw`` reads
    what the source gives.
    """

    name = "savedmodel"
    file = "savedmodel"
    reads_text = True

    def doors(self, source: ExportSource, options: ExportOptions) -> list[Door]:
        """Return the raw door, and the one behind the preprocessing."""
        raw = self._door(source, "raw", options)
        return [raw, *([self._door(source, "preprocessed", options)] if _preprocessed(source) else [])]

    def signature(self, door: Door, *, several: bool) -> str:
        """Return the name of the signature of a door."""
        return RAW if several and door.name == "raw" else SERVING

    def convert(self, job: Conversion) -> None:
        """Write a SavedModel."""
        second = job.second_inputs
        write_saved_model(job, {SERVING: job.inputs} if second is None else {RAW: job.inputs, SERVING: second})


def _preprocessed(source: ExportSource) -> bool:
    return bool(source.frozen.metadata.get("preprocessed"))


def write_saved_model(
    job: Conversion, signatures: Any, change: Callable[[Any], Any] = lambda graph_def: graph_def
) -> None:
    """Write the graph of a job as a SavedModel.

    Args:
        job: the graph, its outputs and the folder to write.
        signatures: inputs by name of the signature.
        change: takes the graph, and returns the one that is written.
    """
    graph_def = change(tf.GraphDef.FromString(Path(job.graph).read_bytes()))
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")

        def infos(items: Any) -> dict[str, Any]:
            return {
                name: tf.saved_model.build_tensor_info(graph.get_tensor_by_name(item["tensor"]))
                for name, item in items.items()
            }

        builder = tf.saved_model.Builder(job.into)
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                name: tf.saved_model.build_signature_def(
                    infos(inputs), infos(job.outputs), "tensorflow/serving/predict"
                )
                for name, inputs in signatures.items()
            },
        )
        builder.save()


TARGET = SavedModelTarget()

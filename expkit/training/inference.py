"""Inference: the graph that predicts, and the session that runs it as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.data.order import consecutive
from expkit.data.preprocess import FieldPreprocessing, preprocessing_of
from expkit.kinds.sources.base import Fields
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.ema_variables import create_ema_variables, read_averages
from expkit.network.spec import NetworkSpec
from expkit.training.session import Session, assign
from expkit.training.step import network_inputs

__all__ = ["InferGraph", "Predictor", "infer_graph"]


@dataclass(frozen=True, kw_only=True)
class InferGraph:
    """The graph that predicts: placeholders in, outputs out."""

    graph: Any
    variables: Mapping[str, Any]
    inputs: Mapping[str, Any]
    """Placeholders by field: the values that the source gives."""
    preprocessed: Mapping[str, Any]
    """Preprocessed inputs as the network reads them, by name: tensors that may be fed instead of the raw ones."""
    outputs: Mapping[str, Any]
    meta_graph: bytes
    """Serialized ``MetaGraphDef``, placeholders and a saver for the variables; ``import_meta_graph`` needs no more."""


def infer_graph(spec: NetworkSpec, preprocessing: Mapping[str, FieldPreprocessing], seed: int = 0) -> InferGraph:
    """Build the graph that predicts; it reads the network's variables by their own names.

    It has two doors: the inputs as the source gives them, named as the fields, and, of those that are preprocessed,
    what the network reads, named ``preprocessed/NAME``.

    Args:
        spec: the network, of which it has what is served.
        preprocessing: the fitted preprocessing, by field.
        seed: seed of the run, for layers that draw random numbers.
    """
    trained = spec.trained.inputs
    sources = {name: item for name, item in preprocessing_of(preprocessing).items() if name in trained}
    graph, spec = tf.Graph(), spec.served
    with graph.as_default():
        variables = create_variables(spec, seed=0)
        variables |= read_averages(spec, create_ema_variables(variables, spec.averaged))
        read_from = {name: sources[name].field if name in sources else name for name in spec.inputs}
        raw = {field: sources[name].raw if name in sources else spec.inputs[name] for name, field in read_from.items()}
        inputs = placeholders(spec, raw)
        kept: dict[str, Any] = {}
        with tf.name_scope("preprocess"):
            for field, tensor in inputs.items():
                item = next((sources[name] for name in sources if sources[name].field == field), None)
                kept |= {field: tensor} if item is None else item.parts(item.connect_kept(tensor))
        read = network_inputs(spec, kept, preprocessing)
        doors = {name: tf.identity(read[name], name=f"preprocessed/{name}") for name in read if name in sources}
        connection = connect(spec, variables, {**read, **doors}, seed=seed)
        saver = tf.train.Saver(variables, max_to_keep=None).as_saver_def() if variables else None
        meta = tf.train.export_meta_graph(saver_def=saver, clear_devices=True, strip_default_attrs=True)
    graph.finalize()
    return InferGraph(
        graph=graph,
        variables=variables,
        inputs=inputs,
        preprocessed=doors,
        outputs=connection.outputs,
        meta_graph=bytes(meta.SerializeToString()),
    )


class Predictor(Session):
    """Runs the inference graph, as it is written."""

    def __init__(self, built: InferGraph) -> None:
        super().__init__(tf.plain_session(built.graph))
        self._built = built

    @property
    def session(self) -> Any:
        """The session, for freezing."""
        return self._session

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Put values into variables."""
        assign(self._session, self._built.variables, values)

    def predict(self, inputs: Fields, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """Return the outputs of inputs, computed in batches, all at once unless ``batch_size`` is given."""
        return self._run(self._built.outputs, inputs, batch_size)

    def preprocessed(self, inputs: Fields) -> dict[str, np.ndarray]:
        """Return a batch's preprocessed inputs as the network reads them."""
        return self._run(self._built.preprocessed, inputs) if self._built.preprocessed else {}

    def _run(self, fetches: Mapping[str, Any], inputs: Fields, batch_size: int | None = None) -> dict[str, np.ndarray]:
        fields = {name: inputs[name] for name in self._built.inputs}
        size = batch_size or len(next(iter(fields.values())))
        run = self._session.make_callable(dict(fetches), list(self._built.inputs.values()))
        batches = [run(*batch) for batch in consecutive(fields, size)]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in fetches}

"""Inputs of the proof of a frozen graph: examples of the data, and random numbers where it has no field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.data.preprocess import preprocessing_of
from expkit.errors import ExportError, comma_list, reading
from expkit.export.feeding import cast
from expkit.network.spec import NetworkSpec
from expkit.training.graphs import EvaluateGraph
from expkit.training.inference import InferGraph
from expkit.training.session import Values
from expkit.training.sessions import Evaluator

__all__ = ["ProofInputs", "evaluated_outputs", "proof_inputs"]

FREE_SIZE = 8
"""Size of dimensions that a random input leaves open, where no input of the data has one."""


@dataclass(frozen=True, kw_only=True)
class ProofInputs:
    """A batch of the inputs that a frozen graph has, by name."""

    raw: Mapping[str, np.ndarray]
    """As the source gives them and the frozen graph reads them."""
    kept: Mapping[str, np.ndarray]
    """As the evaluation graph reads them."""
    random: tuple[str, ...]
    """Names of those that the data does not have, which are random numbers."""

    @property
    def note(self) -> str:
        """Words that name the random inputs in the table of differences; none if there are none."""
        return f", random {comma_list(self.random)}" if self.random else ""


def proof_inputs(spec: NetworkSpec, inference: InferGraph, dataset: Dataset, count: int) -> ProofInputs:
    """Return a batch for the frozen graph.

    Inputs that training has are the first test examples. Others are seeded random numbers: floats of zero mean and unit
    standard deviation, uint8 from 0 to 255, other integers and booleans 0 and 1.

    Args:
        spec: the network.
        inference: its inference graph.
        dataset: the data.
        count: number of examples, if there are so many.
    """
    fields, kept = dataset.first("test", count, raw=True), dataset.first("test", count)
    read = [name for name in spec.served.inputs if name in spec.trained.inputs]
    free = [
        given
        for name in read
        for size, given in zip(spec.inputs[name].shape, kept[name].shape[1:], strict=False)
        if size is None
    ]
    sources = {name: item.field for name, item in preprocessing_of(dataset.preprocessing).items()}
    names = dict.fromkeys(sources.get(name, name) for name in read)
    draw, count = np.random.default_rng(0), min(count, dataset.size("test"))
    size = free[0] if free else FREE_SIZE
    random = {name: _random(draw, item, count, size) for name, item in inference.inputs.items() if name not in names}
    raw = {name: cast(fields[name], inference.inputs[name].dtype.base_dtype.name) for name in names}
    return ProofInputs(
        raw={name: raw[name] if name in raw else random[name] for name in inference.inputs},
        kept={**{name: kept[name] for name in read}, **random},
        random=tuple(random),
    )


def evaluated_outputs(
    evaluation: EvaluateGraph, config: Config, values: Values, proof: ProofInputs
) -> dict[str, dict[str, np.ndarray]]:
    """Return the outputs that the frozen graph is compared with, by weights: of the evaluation graph as it is written.

    Args:
        evaluation: the graph.
        config: the configuration.
        values: of its variables, raw and EMA.
        proof: the batch.

    Raises:
        ExportError: TensorFlow cannot compute them.
    """
    with Evaluator(evaluation, config, plain=True) as evaluator:
        evaluator.load(values)
        problem = f"TensorFlow cannot compute the outputs of the test data{proof.note}"
        with reading("export", problem, raises=ExportError):
            return evaluator.served_outputs(proof.kept)


def _random(draw: np.random.Generator, placeholder: Any, count: int, free_size: int) -> np.ndarray:
    dtype = placeholder.dtype.base_dtype
    shape = (count, *(free_size if size is None else size for size in placeholder.shape.as_list()[1:]))
    if dtype.is_floating:
        return draw.standard_normal(shape).astype(dtype.as_numpy_dtype)
    return draw.integers(0, 256 if dtype.name == "uint8" else 2, shape).astype(dtype.as_numpy_dtype)

"""The trial of freezing before training, so that no training ends without its frozen file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.errors import ExportError, Problem
from expkit.export.freeze import freeze, read_frozen
from expkit.export.operations import operations_of
from expkit.export.parity import check_parity
from expkit.export.proof_inputs import ProofInputs, evaluated_outputs, proof_inputs
from expkit.preflight import CheckedConfig
from expkit.training.graphs import EvaluateGraph
from expkit.training.inference import InferGraph, Predictor

__all__ = ["try_freeze"]

EXAMPLES = 16
"""Number of examples on which the frozen graph is compared."""
LARGE = 64 * 1024 * 1024
"""Bytes of variables above which it is compared on one example."""

_FIX = "this was tried before training; change the network, or train it without a frozen graph: export=none"
_log = logging.getLogger(__name__)


def try_freeze(
    checked: CheckedConfig,
    graphs: tuple[EvaluateGraph, InferGraph],
    values: Mapping[str, np.ndarray],
    dataset: Dataset,
) -> bool:
    """Freeze a network with the values before training and compare it, as at the end of training; keep nothing.

    Outputs that are not finite cannot be compared: such a network is not refused, because training may change that.
    Above 64 MiB of variables the whole frozen graph is still compared, with its operations rewritten and as written,
    but on one example.

    Args:
        checked: the configuration with its network.
        graphs: its evaluation and inference graphs.
        values: of all variables of the evaluation graph, by name.
        dataset: the data, whose first test examples are compared.

    Returns:
        True if it was compared.

    Raises:
        ExportError: the frozen graph differs from the evaluation graph, or TensorFlow cannot freeze or run it.
    """
    config, spec, (evaluation, inference) = checked.config, checked.spec, graphs
    size = sum(variable.nbytes for variable in values.values())
    count = min(1 if size > LARGE else EXAMPLES, dataset.size("test"))
    proof = proof_inputs(spec, inference, dataset, count)
    _log.info("freezing is tried with %.1f MB of variables; number of examples: %d", size / 1e6, count)
    try:
        expected = evaluated_outputs(evaluation, config, values, proof)["raw"]
        if not all(np.isfinite(array.astype(np.float64)).all() for array in expected.values()):
            _log.warning("freezing cannot be tried before training: the outputs are not finite")
            return False
        _compare(config, inference, values, proof, expected)
    except ExportError as error:
        raise ExportError(*(Problem(item.path, f"{item.message}; {_FIX}") for item in error.problems)) from None
    return True


def _compare(
    config: Config,
    inference: InferGraph,
    values: Mapping[str, np.ndarray],
    proof: ProofInputs,
    expected: Mapping[str, np.ndarray],
) -> None:
    inputs, size = proof.raw, config.train.evaluation_batch_size  # Random numbers depend on the index in the batch.
    with Predictor(inference) as predictor, TemporaryDirectory() as folder:
        predictor.load({name: values[name] for name in inference.variables})
        file = Path(folder) / "frozen.pb"
        file.write_bytes(freeze(inference, predictor, {"weights": "raw"}))
        frozen = read_frozen(file, allowed=operations_of(inference.graph.as_graph_def()))
        as_written, rewritten = (frozen.predict(inputs, plain=plain, batch_size=size) for plain in (True, False))
    check_parity(
        {"frozen file": (expected, as_written)},
        (expected, rewritten),
        None,
        config.export.tolerance,
        note=proof.note,
    )

"""Networks frozen with random values, computed as they are written and as an ordinary session rewrites them."""

from __future__ import annotations

from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.ema_variables import create_ema_variables, read_averages
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import TensorSpec
from support.experiments import Values


def drawn(spec: TensorSpec, examples: int, seed: int = 0) -> np.ndarray:
    """Return random examples of a tensor: small numbers, so that what is added to them counts."""
    rng = np.random.default_rng(seed)
    shape = (examples, *(4 if size is None else size for size in spec.shape))
    if spec.dtype in ("int32", "int64", "uint8", "bool"):
        return rng.integers(0, 2, shape).astype(spec.dtype)
    return rng.normal(0, 0.3, shape).astype(tf.as_dtype(spec.dtype).as_numpy_dtype)


def plain_and_rewritten(spec: NetworkSpec, examples: int = 4) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return every output of a frozen network from a plain and from an ordinary session."""
    spec = spec.served
    inputs = {f"{name}:0": drawn(item, examples, seed) for seed, (name, item) in enumerate(spec.inputs.items())}
    with tf.Graph().as_default() as graph, tf.plain_session(graph) as session:
        variables = create_variables(spec, 0)
        variables |= read_averages(spec, create_ema_variables(variables, spec.averaged))
        outputs = {name: tensor.name for name, tensor in connect(spec, variables, placeholders(spec)).outputs.items()}
        for seed, (name, variable) in enumerate(variables.items()):
            shape = variable.shape.as_list()
            value = np.random.default_rng(seed).normal(0.1, 0.5 / np.sqrt(np.prod(shape[:-1]) or 1), shape)
            value = 1 + np.abs(value) if name.endswith("variance") else value
            variable.load(value.astype(variable.dtype.base_dtype.as_numpy_dtype), session)
        constant = tf.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), [tensor.removesuffix(":0") for tensor in outputs.values()]
        )
    results: list[Values] = []
    for new_session in (tf.plain_session, lambda graph: tf.Session(graph=graph)):
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(constant, name="")
            with new_session(graph) as session:
                results.append(session.run(outputs, {name: inputs[name] for name in inputs if _has(graph, name)}))
    return {name: (results[0][name], results[1][name]) for name in outputs}


def _has(graph: Any, name: str) -> bool:
    return name.removesuffix(":0") in {operation.name for operation in graph.get_operations()}


def different(pairs: dict[str, tuple[np.ndarray, np.ndarray]], tolerance: float = 1e-5) -> dict[str, float]:
    """Return the outputs whose pair differs by more than rounding, with the difference over the largest value."""
    found = {}
    for name, pair in pairs.items():
        plain, rewritten = (array.astype(np.float64) for array in pair)
        off = np.max(np.abs(plain - rewritten), initial=0.0) / np.max(np.abs(plain), initial=1.0)
        if not off <= tolerance:
            found[name] = float(off)
    return found

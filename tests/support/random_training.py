"""Random networks of all kinds and dtypes: built, trained one step, frozen, compared with the session.

python tests/support/random_training.py COUNT [FIRST_SEED]      each network by itself, every failure printed
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expkit import tf1 as tf
from expkit.export.freeze import freeze
from expkit.network.build import connect, create_variables, placeholders
from expkit.network.spec import NetworkSpec
from expkit.training.graphs import train_graph
from expkit.training.inference import Predictor, infer_graph
from expkit.training.sessions import Executor
from support.experiments import Values, config_of, loaded
from support.networks import spec_of
from support.random_networks import joined_networks

TOLERANCE = {"float32": 1e-4, "float64": 1e-4, "float16": 0.03, "bfloat16": 0.1}
"""Largest difference after TensorFlow's rewriting, over the largest value."""
LENGTH = 5
"""Size of the dimension that the networks leave open."""


def failures(dtype: str, count: int, first_seed: int) -> tuple[list[int], str | None]:
    """Train and freeze networks as one; return their seeds, and what failed of them if anything did."""
    seeds, raw = joined_networks(count, first_seed, dtype)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return seeds, _failure(raw, dtype, Path(folder))
    except Exception as error:  # Any is a failure of expkit.
        return seeds, f"{type(error).__name__}: {str(error)[:300]}"


def _failure(raw: dict[str, Any], dtype: str, folder: Path) -> str | None:
    raw, spec = _with_outputs_of_floats(raw)
    raw["rules"] = _rules(spec)
    arrays = _arrays(raw)
    losses = {
        f"l{number}": {"kind": "mean_squared_error", "output": name, "labels": f"labels{number}"}
        for number, name in enumerate(spec.outputs)
    }
    config = config_of(
        folder,
        arrays,
        network=raw,
        data={"split": {"train": [0, 4], "valid": None, "test": [4, 6]}},
        train={"losses": losses, "metrics": {}, "batch_size": 4, "jit_compile": False, "parallelism": "intra_op"},
        ema={"enabled": False},
    )
    checked, dataset = loaded(config)
    with Executor(train_graph(checked, dataset)) as executor:
        executor.initialize()
        executor.run(1)
        values = executor.values(checked.spec.variables)
    built = infer_graph(checked.spec, dataset.preprocessing)
    inputs = {name: dataset.splits["test"][name].astype(t.dtype.as_numpy_dtype) for name, t in built.inputs.items()}
    with Predictor(built) as predictor:
        predictor.load(values)
        expected = predictor.predict(inputs)
        constant = tf.GraphDef.FromString(freeze(built, predictor, {}))
    plain, rewritten = (_outputs(constant, built.outputs, inputs, plain=plain) for plain in (True, False))
    for name, array in expected.items():
        if not np.array_equal(array, plain[name], equal_nan=array.dtype.kind == "f"):
            return f"{name}: the frozen graph differs"
        finite = np.isfinite(array.astype(np.float64))
        one, other = (item.astype(np.float64)[finite] for item in (array, rewritten[name]))
        if not np.max(np.abs(one - other), initial=0.0) <= TOLERANCE[dtype] * np.max(np.abs(one), initial=1.0):
            return f"{name}: rewritten by an ordinary session, the frozen graph differs"
    return None


def _with_outputs_of_floats(raw: dict[str, Any]) -> tuple[dict[str, Any], NetworkSpec]:
    """Return a network whose outputs that hold no floats are cast."""
    spec = spec_of(raw)
    layers, outputs = dict(raw["layers"]), dict(raw["outputs"])
    for name, tensor in raw["outputs"].items():
        if "float" not in spec.output_spec(name).dtype:
            layers[f"cast-{name}"] = {"kind": "cast", "input": tensor, "dtype": "float32"}
            outputs[name] = f"cast-{name}"
    raw = {**raw, "layers": layers, "outputs": outputs}
    return raw, spec_of(raw)


def _rules(spec: NetworkSpec) -> dict[str, Any]:
    """Return the rule that excludes the variables from training on which no output depends differentiably."""
    with tf.Graph().as_default():
        variables = create_variables(spec, 0)
        outputs = connect(spec, variables, placeholders(spec)).outputs.values()
        floating = {name: variables[name] for name in spec.trainable}
        gradients = tf.gradients(list(outputs), list(floating.values())) if floating else []
    still = [name for name, gradient in zip(floating, gradients, strict=True) if gradient is None]
    return {"still": {"variables": "|".join(map(re.escape, still)), "trainable": False}} if still else {}


def _arrays(raw: dict[str, Any]) -> Values:
    """Return six examples, and labels for every output."""
    draw = np.random.default_rng(0)
    sized = {
        name: {**item, "shape": [size or LENGTH for size in item["shape"]]} for name, item in raw["inputs"].items()
    }
    spec = spec_of({**raw, "inputs": sized})
    arrays: Values = {}
    for name, item in sized.items():
        shape, dtype = (6, *item["shape"]), item["dtype"]
        whole = dtype in ("int32", "bool")
        values = draw.integers(0, 2, shape) if whole else draw.normal(0, 0.5, shape)
        arrays[name] = values.astype("float32" if dtype == "bfloat16" else dtype)
    for number, name in enumerate(spec.outputs):
        arrays[f"labels{number}"] = np.zeros((6, *spec.output_spec(name).sizes), np.float32)
    return arrays


def _outputs(constant: Any, outputs: Mapping[str, Any], inputs: Values, *, plain: bool) -> Values:
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(constant, name="")
        with tf.plain_session(graph) if plain else tf.Session(graph=graph) as session:
            feed = {f"{name}:0": array for name, array in inputs.items()}
            return dict(session.run({name: tensor.name for name, tensor in outputs.items()}, feed))


def main(count: int, first_seed: int = 0) -> int:
    """Try networks one by one."""
    failed = tried = 0
    while tried < count:
        for dtype in TOLERANCE:
            (seed,), problem = failures(dtype, 1, first_seed)
            tried += 1
            if problem is not None:
                failed += 1
                print(f"{dtype} {seed}: {problem}", flush=True)
        first_seed = seed + 1
    print(f"{failed} of {tried} networks failed")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))

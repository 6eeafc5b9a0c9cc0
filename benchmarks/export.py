"""Networks by formats: how far exported files are from the frozen graph.

Usage: python benchmarks/export.py [--networks digits_mlp,lstm,...] [--to onnx,tflite,...] [--docs docs/export.md]

Exports every network, with seeded random weights, to every format, each by itself, and prints a table of the largest
differences, or of the refusals; ``--docs`` writes it behind the marker of a file.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expkit.config.load import load
from expkit.config.sections.network import NetworkConfig
from expkit.errors import ExpkitError
from expkit.export.exporter import export
from expkit.export.freeze import freeze, read_frozen
from expkit.export.targets.base import ExportOptions, ExportSource, target
from expkit.network.elaborate import network_spec
from expkit.training.inference import Predictor, infer_graph

FORMATS = ("savedmodel", "tflite", "onnx", "openvino", "opencv")
MARKER = "<!-- made by benchmarks/export.py from here on -->\n"
IMAGE: Mapping[str, Any] = {"image": {"shape": [16, 16, 3]}}
ROWS: Mapping[str, Any] = {"rows": {"shape": [12, 6]}}
LAST: Mapping[str, Any] = {"flat": {"kind": "flatten"}, "logits": {"kind": "dense", "units": 5}}
SHIPPED: Mapping[str, Sequence[str]] = {
    "digits_mlp": [],
    "unet": ["network=unet", "network.inputs.image.shape=[32,32,3]"],
    "multi_head": ["experiment=multi_head"],
    "siamese": ["experiment=siamese"],
    "autoencoder": ["experiment=autoencoder"],
    "bert_small": [
        *("~experiment", "network=bert", "network.settings.layers=2", "network.settings.hidden_size=32"),
        *("network.settings.heads=4", "network.settings.intermediate_size=64", "network.settings.length=16"),
        "network.settings.vocabulary_size=100",
    ],
    "mobilenet_v1": ["~experiment", "network=mobilenet_v1"],
    "resnet_v1_50": ["~experiment", "network=resnet_v1_50"],
    "inception_v3": ["~experiment", "network=inception_v3"],
}
"""Overrides of networks that expkit ships."""
WRITTEN: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "cnn_batch_norm": (
        IMAGE,
        {
            "conv": {"kind": "conv2d", "filters": 8, "kernel_size": 3},
            "norm": {"kind": "batch_norm"},
            "relu": {"kind": "activation", "function": "relu"},
            "pool": {"kind": "max_pool", "pool_size": 2},
            **LAST,
        },
    ),
    "lstm": (ROWS, {"lstm": {"kind": "lstm", "units": 8}, "logits": {"kind": "dense", "units": 5}}),
    "bidirectional_gru": (
        ROWS,
        {"gru": {"kind": "gru", "units": 8, "bidirectional": True}, "logits": {"kind": "dense", "units": 5}},
    ),
    "separable": (IMAGE, {"conv": {"kind": "separable_conv2d", "filters": 8, "kernel_size": 3}, **LAST}),
    "attention": (
        ROWS,
        {
            "wide": {"kind": "dense", "units": 16},
            "mixed": {"kind": "attention", "num_heads": 4},
            "norm": {"kind": "layer_norm"},
            **LAST,
        },
    ),
    "conv1d": (ROWS, {"conv": {"kind": "conv1d", "filters": 8, "kernel_size": 3}, **LAST}),
    "conv3d": (
        {"volume": {"shape": [6, 6, 6, 2]}},
        {"conv": {"kind": "conv3d", "filters": 4, "kernel_size": 3}, **LAST},
    ),
}
"""Inputs and layers of the others."""
NETWORKS = (*SHIPPED, *WRITTEN)


def network(name: str) -> NetworkConfig:
    """Return the configuration of a network."""
    if name in SHIPPED:
        return load(SHIPPED[name]).network
    inputs, layers = WRITTEN[name]
    described = {"inputs": inputs, "layers": layers, "outputs": {"logits": "logits"}}
    return NetworkConfig.model_validate_json(json.dumps(described))


def frozen(config: NetworkConfig, folder: Path) -> ExportSource:
    """Write the frozen graph of a network with seeded random weights."""
    built, draw = infer_graph(network_spec(config), {}), np.random.default_rng(0)
    values = {}
    for name, variable in built.variables.items():
        shape = variable.shape.as_list()
        spread = 1 / np.sqrt(max(1, np.prod(shape[:-1]))) if len(shape) > 1 else 0.1
        ones = name.rpartition("/")[2] in ("gamma", "moving_variance")
        values[name] = (draw.normal(0, spread, shape) * (0.1 if ones else 1) + ones).astype(
            variable.dtype.as_numpy_dtype
        )
    with Predictor(built) as predictor:
        predictor.load(values)
        (folder / "frozen.pb").write_bytes(freeze(built, predictor, {"name": "benchmark"}))
    return ExportSource(file=folder / "frozen.pb", frozen=read_frozen(folder / "frozen.pb"))


def cell(source: ExportSource, name: str, into: Path) -> str:
    """Export to one format; return the largest difference, or the refusal."""
    try:
        made = export(source, [target(name)], ExportOptions(), into)
    except ExpkitError as error:
        return re.sub(r"\s+", " ", error.problems[0].message).replace("|", "\\|")[:160]
    return f"{max(row.difference for row in made.targets[0].proofs if row.allowed is not None):.1g}"


def table(networks: Sequence[str], formats: Sequence[str], say: Callable[[str], None]) -> str:
    """Return the table as Markdown."""
    lines = [f"| network | {' | '.join(formats)} |", f"|---|{'---|' * len(formats)}"]
    for name in networks:
        with tempfile.TemporaryDirectory() as folder:
            source = frozen(network(name), Path(folder))
            cells = [cell(source, form, Path(folder) / form) for form in formats]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        say(lines[-1])
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make the table, or measure the cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--to", default=",".join(FORMATS))
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    made = table(given.networks.split(","), given.to.split(","), lambda line: print(line, flush=True))
    if given.docs is not None:
        before, _, _ = given.docs.read_text(encoding="utf-8").partition(MARKER)
        given.docs.write_text(f"{before}{MARKER}{made}", encoding="utf-8")


if __name__ == "__main__":
    main()

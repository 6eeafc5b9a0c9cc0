"""Exported files measured: networks by formats, quantized files, the cost beside bare converters.

Usage: python benchmarks/export.py [--networks digits_mlp,lstm,...] [--to onnx,tflite,...] [--docs docs/export.md]
       python benchmarks/export.py --quantized [--docs docs/export.md]
       python benchmarks/export.py --large [--to onnx,...] [--docs docs/export.md]

Exports every network, with seeded random weights, to every format, each by itself, and prints a table of the largest
differences, or of the refusals.

With ``--quantized``: trains five networks on digits, exports each to TFLite in every quantization, and prints size,
latency and test accuracy, and which were refused.

With ``--large``: exports a network of 100 MB to every format, and converts its frozen graph by the bare converter;
prints the seconds and the peak memory of both, all processes together.

``--docs`` writes the table behind its marker in a file.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from export_cost import cost_table
from export_quantized import quantized_table

from expkit.config.load import load
from expkit.config.sections.network import NetworkConfig
from expkit.errors import ExpkitError
from expkit.export.exporter import export
from expkit.export.freeze import freeze, read_frozen
from expkit.export.targets.base import ExportOptions, ExportSource, target
from expkit.network.elaborate import network_spec
from expkit.training.inference import Predictor, infer_graph

FORMATS = ("savedmodel", "tflite", "onnx", "openvino", "opencv")
TIMEOUT = 600.0
"""Seconds after which a converter or a runtime is stopped."""
IMAGE: Mapping[str, Any] = {"image": {"shape": [16, 16, 3]}}
ROWS: Mapping[str, Any] = {"rows": {"shape": [12, 6]}}
LAST: Mapping[str, Any] = {"flat": {"kind": "flatten"}, "logits": {"kind": "dense", "units": 5}}
SHIPPED: Mapping[str, Sequence[str]] = {
    "digits_mlp": [],
    "unet": ["network=unet", "network.inputs.image.shape=[188,188,3]"],
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
        {"gru": {"kind": "gru", "units": 8, "direction": "both"}, "logits": {"kind": "dense", "units": 5}},
    ),
    "lstm_open_length": (
        {"rows": {"shape": [None, 6]}, "length": {"shape": [], "dtype": "int32"}},
        {
            "lstm": {"kind": "lstm", "units": 8, "input": "rows", "lengths": "length", "return_sequences": True},
            "logits": {"kind": "dense", "units": 5},
        },
    ),
    "bidirectional_gru_100_steps": (
        {"rows": {"shape": [100, 6]}},
        {"gru": {"kind": "gru", "units": 8, "direction": "both"}, "logits": {"kind": "dense", "units": 5}},
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
NETWORKS = (
    *("digits_mlp", "cnn_batch_norm", "lstm", "lstm_open_length", "bidirectional_gru", "bidirectional_gru_100_steps"),
    *("separable", "attention", "unet", "conv1d", "conv3d", "bert_small", "multi_head", "siamese", "autoencoder"),
    *("mobilenet_v1", "resnet_v1_50", "inception_v3"),
)


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
        shape, own = variable.shape.as_list(), name.rpartition("/")[2]
        read = shape[:2] if "depthwise" in own else shape[:-1]  # Such a kernel reads one channel.
        spread = np.sqrt(2 / max(1, np.prod(read))) if len(shape) > 1 else 0.1
        ones = own in ("gamma", "moving_variance")
        values[name] = (draw.normal(0, spread, shape) + ones).astype(variable.dtype.as_numpy_dtype)
    with Predictor(built) as predictor:
        predictor.load(values)
        (folder / "frozen.pb").write_bytes(freeze(built, predictor, {"name": "benchmark"}))
    return ExportSource(file=folder / "frozen.pb", frozen=read_frozen(folder / "frozen.pb"))


def cell(source: ExportSource, name: str, into: Path) -> str:
    """Export to one format; return the largest difference, or the refusal."""
    try:
        made = export(source, [target(name)], ExportOptions(timeout=TIMEOUT), into)
    except ExpkitError as error:
        return sentence(error.problems[0].message)
    return f"{max(row.difference for row in made.targets[0].proofs if row.allowed is not None):.1g}"


def sentence(message: str) -> str:
    """Return a message for a cell: the operation and its layer where it names one."""
    text = re.sub(r"\s+", " ", message).replace("|", "\\|")
    named = re.search(r"could not take (\w+ '[^']+' of layer '[^']+')", text)
    return f"refused: {named[1]}" if named else f"refused: {text.partition('; ')[0][:160]}"


def networks_table(networks: Sequence[str], formats: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the table of networks by formats."""
    yield f"| network | {' | '.join(formats)} |"
    yield f"|---|{'---|' * len(formats)}"
    for name in networks:
        with tempfile.TemporaryDirectory() as folder:
            source = frozen(network(name), Path(folder))
            cells = [cell(source, form, Path(folder) / form) for form in formats]
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Make a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--to", default=",".join(FORMATS))
    parser.add_argument("--quantized", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--docs", type=Path)
    given = parser.parse_args()
    if given.quantized:
        name, made = "quantized", quantized_table()
    elif given.large:
        name, made = "large", cost_table(given.to.split(","))
    else:
        name, made = "networks", networks_table(given.networks.split(","), given.to.split(","))
    lines = []
    for line in made:
        print(line, flush=True)
        lines.append(line)
        if given.docs is not None and len(lines) > 2:
            put(lines, given.docs, f"<!-- made by benchmarks/export.py: {name} -->\n")


def put(lines: Sequence[str], file: Path, marker: str) -> None:
    """Write a table behind its marker, or at the end; rows of the table there that were not made again stay."""
    before, found, after = file.read_text(encoding="utf-8").partition(marker)
    before += "" if found else "\n"
    old = re.match(r"(?:\|.*\n)*", after)
    assert old is not None
    of_networks = "networks" in marker
    merged = [*old[0].splitlines()[2:], *lines[2:]] if of_networks else lines[2:]
    rows = {line.split("|")[1] if of_networks else line: line for line in merged}
    order = {f" {name} ": index for index, name in enumerate(NETWORKS)}
    kept = [*lines[:2], *(rows[key] for key in sorted(rows, key=lambda key: order.get(key, 0)))]
    file.write_text(before + marker + "\n".join(kept) + "\n" + after[old.end() :], encoding="utf-8")


if __name__ == "__main__":
    main()

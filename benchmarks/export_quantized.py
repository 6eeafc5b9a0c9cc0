"""Size, latency and accuracy of quantized TFLite files of networks that are trained on digits."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from expkit.export.converters.job import Quantize
from expkit.export.exporter import export
from expkit.export.targets.base import Exported, ExportOptions, target
from expkit.runs.exported import export_source
from expkit.runs.train import train

QUANTIZE: Sequence[Quantize] = ("none", "float16", "dynamic", "int8")
STEPS = 1000
IMAGE: Mapping[str, Any] = {"image": {"shape": [8, 8, 1]}}
ROWS: Mapping[str, Any] = {"rows": {"kind": "reshape", "shape": [8, 8]}}
LOGITS: Mapping[str, Any] = {"logits": {"kind": "dense", "units": 10}}
NETWORKS: Mapping[str, Mapping[str, Any] | None] = {
    "digits_cnn": None,
    "digits_mlp": None,
    "separable": {
        "first": {"kind": "separable_conv2d", "filters": 32, "kernel_size": 3, "activation": "relu"},
        "second": {"kind": "separable_conv2d", "filters": 64, "kernel_size": 3, "activation": "relu"},
        "pool": {"kind": "max_pool", "pool_size": 2},
        "flat": {"kind": "flatten"},
        **LOGITS,
    },
    "lstm": {**ROWS, "lstm": {"kind": "lstm", "units": 32}, **LOGITS},
    "attention": {
        **ROWS,
        "wide": {"kind": "dense", "units": 32},
        "placed": {"kind": "position_embedding", "max_length": 8},
        "mixed": {"kind": "attention", "num_heads": 4},
        "sum": {"kind": "add", "input": ["placed", "mixed"]},
        "norm": {"kind": "layer_norm"},
        "flat": {"kind": "flatten"},
        **LOGITS,
    },
}
"""Layers by network; ``None`` for an experiment that expkit ships."""


def trained(name: str, layers: Mapping[str, Any] | None, folder: Path) -> Path:
    """Train a network shortly; return the folder of its run."""
    words = [f"train.steps={STEPS}", f"run.folder={folder}/runs", f"hydra.run.dir={folder}/{name}", "tracking=none"]
    if layers is None:
        chosen, dirs = [f"experiment={name}"], []
    else:
        (folder / "conf" / "network").mkdir(parents=True, exist_ok=True)
        described = {"inputs": IMAGE, "layers": layers, "outputs": {"logits": "logits"}}
        (folder / "conf" / "network" / f"{name}.yaml").write_text(json.dumps(described))
        chosen, dirs = ["experiment=digits_cnn", f"network={name}", f"run.name={name}"], [str(folder / "conf")]
    outcome = train([*chosen, *words], dirs, quiet=True, embedded=True)
    assert outcome.exit_code == 0, outcome.message
    return folder / name


def row(name: str, quantize: Quantize, made: Exported, accuracies: Sequence[str]) -> str:
    """Return the line of a file; ``accuracies`` are those of the frozen graph and of the quantized file."""
    outputs = made.proofs[0]
    size = sum(file.stat().st_size for file in made.files) / 1e3
    drifts = re.search(r"drifts most is that of ('[^']+' \([^)]+\))", " ".join(made.problems))
    verdict = "proven" if not made.problems else f"refused; drifts most: {drifts[1] if drifts else 'unknown'}"
    accuracy = accuracies[0 if quantize == "none" else 1]
    return f"| {name} | {quantize} | {size:.0f} | {outputs.latency_ms:.3f} | {accuracy} | {verdict} |"


def quantized_table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| network | quantize | kB | ms | test accuracy | verdict |"
    yield "|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, layers in NETWORKS.items():
            run, files = trained(name, layers, folder), {}
            for quantize in QUANTIZE:
                options = ExportOptions(quantize=quantize, keep_anyway=True)
                with export_source(str(run)) as (source, _):
                    made = export(source, [target("tflite")], options, folder / f"{name}_{quantize}")
                files[quantize] = made.targets[0]
            for quantize, file in files.items():
                rows = (*file.proofs, *files["float16"].proofs)
                note = next(item.note for item in rows if item.compared == "metric accuracy")
                yield row(name, quantize, file, note.split(" -> "))

"""Exported files that their own runtime computes, in a process of its own: ONNX, TFLite, OpenVINO, OpenCV."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import ExportError, reading
from expkit.export.exporter import recorded
from expkit.export.feeding import BATCH_BYTES, Computed, batches, cast, check_inputs, join, own_batch_size
from expkit.export.freeze import FrozenGraph, read_frozen
from expkit.export.inside import KEY, checked, read_inside
from expkit.export.preprocessing import KEPT, PREPROCESSING, preprocess
from expkit.export.targets.base import check_installed, target
from expkit.export.targets.opencv import products
from expkit.export.targets.processes import Runtime

__all__ = ["RuntimeGraph", "runtime_of"]

_OWN = (
    *("format", "inputs", "outputs", "preprocessed", "verdict"),
    *("classes", "columns", "labels", "predicts", "label_steps"),
)
"""Keys of the metadata that a file cannot give by itself."""
_BY_ENDING = {".onnx": "onnx", ".tflite": "tflite", ".xml": "openvino"}


def runtime_of(path: Path) -> str | None:
    """Return the target whose runtime reads a file; ``None`` for what TensorFlow reads.

    The ending decides; a ``.pb`` is OpenCV's if ``export.json`` beside it says so.
    """
    about = recorded(path) if path.suffix == ".pb" else None
    return "opencv" if about is not None and about.target == "opencv" else _BY_ENDING.get(path.suffix.lower())


class RuntimeGraph:
    """A graph in a file of another format."""

    def __init__(self, path: Path, *, allowed: Collection[str] = ()) -> None:
        """Read inputs and outputs.

        Args:
            path: the file.
            allowed: operations of the preprocessing beside it to allow besides those known to be pure.

        Raises:
            ExportError: the file is missing, its runtime is not installed, or it refuses the file.
        """
        kind = runtime_of(path)
        assert kind is not None, f"{path} has no runtime"
        if not path.is_file():
            raise ExportError.at(str(path), "no such file" if not path.exists() else "not a regular file")
        check_installed([target(kind)], str(path))
        self._kind, self._path = kind, path
        found = _described_by_tensorflow(path) if kind == "opencv" else _described(kind, path)
        self._signature = found.get("signature", "")
        self._tensors = {name: {"tensor": name, **item} for name, item in found["inputs"].items()}
        """The inputs of the file itself."""
        self._before = _preprocessing(path.with_name(PREPROCESSING), self._tensors, allowed)
        self.metadata: dict[str, Any] = {
            "format": kind,
            **_facts(kind, path, found["metadata"]),
            **({"verdict": about.verdict} if (about := recorded(path)) else {}),
            "inputs": self._tensors,
            "outputs": {name: {"tensor": name, **item} for name, item in found["outputs"].items()},
        }
        if self._before is not None:
            facts = self._before.metadata
            read, made = facts["inputs"], facts["outputs"]
            plain = {name: item for name, item in self._tensors.items() if name not in made}
            kept = {key: facts[key] for key in KEPT if key in facts and key not in self.metadata}
            self.metadata |= {
                **kept,
                "inputs": {**read, **plain},
                "preprocessed": {name: self._tensors[name] for name in made},
            }

    def predict(self, inputs: Mapping[str, Any], *, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """Return the outputs for all examples; arguments and errors are those of ``compute``."""
        return join(self.compute(inputs, batch_size=batch_size))

    def compute(self, inputs: Mapping[str, Any], *, batch_size: int | None = None) -> Generator[Computed, None, None]:
        """Yield the outputs batch by batch.

        Args:
            inputs: arrays by input name.
            batch_size: examples computed at once; by default as many as the file is fixed to, up to 1,024 for a file
                that expkit exported, all for others.

        Raises:
            ExportError: an input is missing, unknown, or of a wrong shape or dtype, or the runtime cannot compute it.
        """
        before = None if self._before is None or self._are_tensors(self._before, inputs) else self._before
        expected = self._tensors if before is None else self.metadata["inputs"]
        fixed = {item["shape"][0] for item in self._tensors.values() if item["shape"]} - {None}
        chosen = next(iter(fixed), None) or batch_size
        size = chosen or own_batch_size(self.metadata, "verdict")
        free = {name: _free_batch(item, bool(fixed)) for name, item in expected.items()}
        check_inputs(free, (), inputs)
        with Runtime(self._kind, self._path, signature=self._signature) as runtime:
            for cut in batches(free, inputs, size, most_bytes=None if chosen else BATCH_BYTES):
                batch = {
                    name: cast(np.asarray(inputs[name][cut.get(name, ...)]), item["dtype"])
                    for name, item in free.items()
                }
                count = len(next(iter(batch.values())))
                if fixed and count < next(iter(fixed)):
                    raise ExportError.at(
                        str(self._path),
                        f"is fixed to batches of {size} examples; give a multiple, or export it without --batch",
                    )
                fed = batch if before is None else preprocess(before, batch, self._tensors)
                yield Computed(count, runtime.run(fed)[0])

    def _are_tensors(self, before: FrozenGraph, inputs: Mapping[str, Any]) -> bool:
        """Return whether arrays are what the file itself reads: all of it, and no text where the source gives text."""
        return (
            any(item["dtype"] == "string" for item in before.metadata["inputs"].values())
            and self._tensors.keys() <= inputs.keys()
            and not any(np.dtype(inputs[name].dtype).kind in "SUOV" for name in self._tensors)
        )


def _described(kind: str, path: Path) -> dict[str, Any]:
    """Return inputs, outputs and metadata as the runtime of a file has them."""
    weights = path.with_suffix(".bin")
    hint = f"its weights are missing: {weights}" if kind == "openvino" and not weights.is_file() else ""
    with Runtime(kind, path, explain=lambda log: hint) as runtime:
        return runtime.describe()


def _described_by_tensorflow(path: Path) -> dict[str, Any]:
    """Return inputs and outputs of a file for OpenCV, which knows no shapes before it computes."""
    about = recorded(path)
    assert about is not None
    graph = read_frozen(path, fetch=about.outputs)
    outputs = graph.metadata["outputs"]
    signature = products(graph.graph_def, {name: item["tensor"] for name, item in outputs.items()})
    return {"inputs": graph.metadata["inputs"], "outputs": outputs, "metadata": {}, "signature": signature}


def _facts(kind: str, path: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that expkit wrote into a file, or else those of its format."""
    if KEY in metadata:
        with reading(str(path), "its facts of expkit are damaged", raises=ExportError):
            return checked(json.loads(metadata[KEY]))
    others = {key: value for key, value in metadata.items() if isinstance(value, str) and key not in _OWN}
    return {**others, **read_inside(kind, path)}


def _preprocessing(path: Path, tensors: Mapping[str, Any], allowed: Collection[str]) -> FrozenGraph | None:
    """Return the preprocessing beside a file, if there is one that makes what the file reads."""
    if not path.is_file():
        return None
    before = read_frozen(path, allowed=allowed)
    return before if before.metadata["outputs"].keys() <= tensors.keys() else None


def _free_batch(item: Mapping[str, Any], fixed: bool) -> dict[str, Any]:
    return {**item, "shape": [None, *item["shape"][1:]]} if fixed and item["shape"] else dict(item)

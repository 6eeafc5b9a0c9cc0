"""Exported files that their own runtime computes, in a process of its own: ONNX, TFLite, OpenVINO."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import ExportError
from expkit.export.exporter import recorded_verdict
from expkit.export.feeding import Computed, batches, cast, check_inputs, join
from expkit.export.freeze import BATCH_SIZE
from expkit.export.targets.base import check_installed, target
from expkit.export.targets.processes import Runtime

__all__ = ["RuntimeGraph", "runtime_of"]

_BY_ENDING = {".onnx": "onnx", ".tflite": "tflite", ".xml": "openvino"}


def runtime_of(path: Path) -> str | None:
    """Return the target whose runtime reads a file, by its ending; ``None`` for what TensorFlow reads."""
    return _BY_ENDING.get(path.suffix.lower())


class RuntimeGraph:
    """A graph in a file of another format."""

    def __init__(self, path: Path) -> None:
        """Read inputs and outputs.

        Raises:
            ExportError: the file is missing, its runtime is not installed, or it refuses the file.
        """
        kind = runtime_of(path)
        assert kind is not None, f"{path} has no runtime"
        if not path.is_file():
            raise ExportError.at(str(path), "no such file" if not path.exists() else "not a regular file")
        check_installed([target(kind)], str(path))
        self._kind, self._path = kind, path
        with Runtime(kind, path) as runtime:
            found = runtime.describe()
        self.metadata: dict[str, Any] = {
            "format": kind,
            **({"verdict": verdict} if (verdict := recorded_verdict(path)) else {}),
            **{key: value for key, value in found["metadata"].items() if isinstance(value, str)},
            "inputs": {name: {"tensor": name, **item} for name, item in found["inputs"].items()},
            "outputs": {name: {"tensor": name, **item} for name, item in found["outputs"].items()},
        }

    def predict(self, inputs: Mapping[str, Any], *, batch_size: int | None = None) -> dict[str, np.ndarray]:
        """Return the outputs for all examples; arguments and errors are those of ``compute``."""
        return join(self.compute(inputs, batch_size=batch_size))

    def compute(self, inputs: Mapping[str, Any], *, batch_size: int | None = None) -> Generator[Computed, None, None]:
        """Yield the outputs batch by batch.

        Args:
            inputs: arrays by input name.
            batch_size: examples computed at once; by default as many as the file is fixed to, 1,024 for a file that
                expkit exported, all for others.

        Raises:
            ExportError: an input is missing, unknown, or of a wrong shape or dtype, or the runtime cannot compute it.
        """
        expected = self.metadata["inputs"]
        fixed = {item["shape"][0] for item in expected.values() if item["shape"]} - {None}
        size = next(iter(fixed), None) or batch_size or self._batch_size()
        free = {name: _free_batch(item, bool(fixed)) for name, item in expected.items()}
        check_inputs(free, (), inputs)
        with Runtime(self._kind, self._path) as runtime:
            for cut in batches(free, inputs, size):
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
                yield Computed(count, runtime.run(batch)[0])

    def _batch_size(self) -> int | None:
        tensors = [*self.metadata["inputs"].values(), *self.metadata["outputs"].values()]
        own = "verdict" in self.metadata and all(item["shape"] and item["shape"][0] is None for item in tensors)
        return BATCH_SIZE if own else None


def _free_batch(item: Mapping[str, Any], fixed: bool) -> dict[str, Any]:
    return {**item, "shape": [None, *item["shape"][1:]]} if fixed and item["shape"] else dict(item)

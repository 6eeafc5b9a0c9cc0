"""Conversion to OpenVINO's representation, by its own converter, without TensorFlow."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from expkit.export.converters.job import Conversion

__all__ = ["convert"]


def convert(job: Conversion) -> None:
    """Write an ``.xml`` file and its ``.bin``."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # It would report its user to Google.
    openvino = importlib.import_module("openvino")
    model = openvino.convert_model(
        job.graph,
        input=[(item["tensor"], _shape(openvino, item["shape"])) for item in job.inputs.values()],
        output=[item["tensor"] for item in job.outputs.values()],
    )
    for items, ports in ((job.inputs, model.inputs), (job.outputs, model.outputs)):
        names = {item["tensor"]: name for name, item in items.items()}
        for index, port in enumerate(ports):
            own = [names[tensor] for tensor in port.get_names() if tensor in names]
            port.get_tensor().set_names({own[0] if own else list(items)[index]})
    openvino.save_model(model, job.into, compress_to_fp16=False)


def _shape(openvino: Any, shape: list[int | None] | None) -> Any:
    if shape is None:
        return openvino.PartialShape.dynamic()
    return openvino.PartialShape([-1 if size is None else size for size in shape])

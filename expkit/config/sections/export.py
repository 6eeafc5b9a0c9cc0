"""The section ``export``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from expkit.registry import Section

__all__ = ["ExportConfig"]


class ExportConfig(Section):
    """The frozen graph."""

    enabled: bool = True
    """Freeze a graph at the end of the run."""
    weights: Literal["auto", "raw", "ema"] = "auto"
    """Values to freeze; ``auto`` takes the EMA if the run keeps one."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Checkpoint to freeze."""
    tolerance: float = Field(default=1e-5, gt=0)
    """Largest allowed difference between the outputs of the frozen graph and those of the evaluation graph."""
    to: tuple[Literal["savedmodel", "tflite", "onnx", "openvino", "opencv", "safetensors", "npz"], ...] = ()
    """Formats to export the run to at its end, each proven: of the graph, or files of its variables by name."""
    quantize: Literal["none", "float16", "dynamic", "int8"] = "none"
    """Type of the weights of ``tflite``; ``int8`` is calibrated on training examples."""
    max_drop: float = Field(default=0.01, ge=0)
    """Largest fall of a metric of the test split by quantization; relative where smaller values are better."""

    @model_validator(mode="after")
    def _is_enabled(self) -> ExportConfig:
        if self.to and not self.enabled:
            raise ValueError("export.to needs the frozen graph; set export.enabled to true, or export.to to []")
        if self.quantize != "none" and "tflite" not in self.to:
            raise ValueError("export.quantize is for tflite, which export.to does not name")
        if twice := sorted({name for name in self.to if self.to.count(name) > 1}):
            raise ValueError(f"export.to names {', '.join(twice)} twice; name each once")
        return self

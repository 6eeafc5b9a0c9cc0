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
    to: tuple[Literal["savedmodel", "tflite", "onnx", "openvino", "opencv"], ...] = ()
    """Formats to export the frozen graph to at the end of the run, each proven in its own runtime."""
    quantize: Literal["none", "float16", "dynamic", "int8"] = "none"
    """Type of the weights of ``tflite``; ``int8`` is calibrated on training examples."""
    max_drop: float = Field(default=0.01, ge=0)
    """Largest fall of a metric of the test part by quantization; relative where smaller values are better."""

    @model_validator(mode="after")
    def _is_enabled(self) -> ExportConfig:
        if self.to and not self.enabled:
            raise ValueError("export.to needs the frozen graph; set export.enabled to true, or export.to to []")
        return self

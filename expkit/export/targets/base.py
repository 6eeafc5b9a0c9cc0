"""The interface of a target: a format that a run or a frozen graph is exported to, with its proof."""

from __future__ import annotations

import importlib
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from expkit.config.sections.restore import RenameRule, WeightLayout
from expkit.errors import ExportError, Problem, comma_list, unknown
from expkit.export.converters.job import Quantize
from expkit.export.freeze import FrozenGraph
from expkit.export.run import FrozenSource
from expkit.provenance import is_installed

__all__ = [
    "ExportOptions",
    "ExportSource",
    "Exported",
    "Proof",
    "Target",
    "check_installed",
    "check_options",
    "chosen_targets",
    "target",
]

TARGETS: Mapping[str, str] = {
    "savedmodel": "expkit.export.targets.savedmodel",
    "tflite": "expkit.export.targets.tflite",
    "onnx": "expkit.export.targets.onnx",
    "openvino": "expkit.export.targets.openvino",
    "opencv": "expkit.export.targets.opencv",
    "safetensors": "expkit.export.targets.safetensors",
    "npz": "expkit.export.targets.npz",
}
"""Modules of the targets by name; each has the target as ``TARGET``, and is imported when it is chosen."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Settings of an export."""

    quantize: Quantize = "none"
    """Type of the weights; of ``int8`` also of what layers compute, calibrated on training examples."""
    max_drop: float = 0.01
    """Largest fall of a metric of a quantized file: absolute where larger is better, relative where smaller is."""
    tolerance: float = 2e-5
    """Largest difference allowed, as a fraction of the largest output; rounding makes about 1e-6."""
    keep_anyway: bool = False
    """Write files whose proof failed, with the verdict in ``export.json``."""
    per_layer: bool = False
    """Compare every layer's output as well, and name the first that differs."""
    batch: int | None = None
    """Fixed number of examples; ``None`` leaves it open."""
    input_shapes: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    """Fixed shapes by input, with the batch dimension; ``None`` leaves a size open."""
    opset: int | None = None
    """Opset of ONNX; the target's own by default."""
    rename_outputs: Mapping[str, str] = field(default_factory=dict)
    """New names by output."""
    layout: WeightLayout = "tensorflow"
    """Order of the dimensions of kernels in files of variables."""
    rules: tuple[RenameRule, ...] = ()
    """Rename rules of a restore from such a file of variables, which are read backwards."""
    timeout: float = 1800.0
    """Seconds after which a converter or a runtime is ended."""


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """A frozen graph to export, with its run where it is known."""

    file: Path
    """The frozen graph's file."""
    frozen: FrozenGraph
    run: FrozenSource | None = None
    """The run that it was frozen from: configuration, data, checkpoint, weights; ``None`` for a file alone."""
    run_folder: Path | None = None
    examples: Mapping[str, Any] | None = None
    """Arrays by input to compare and calibrate on; by default those of the run."""

    @property
    def about(self) -> dict[str, Any]:
        """Facts for the inside of files: of the run by its name, because files go to others."""
        metadata = self.frozen.metadata
        facts = {key: metadata[key] for key in _INSIDE if metadata.get(key)}
        if self.run_folder is not None:
            facts["run"] = self.run_folder.name
        if self.run is not None:  # The index of a checkpoint has the checksums of all tensors.
            files = self.run.checkpoint.files.items()
            facts["checkpoint"] = next((item["sha256"] for name, item in files if name.endswith(".index")), None)
        return facts


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A row of the table of proofs: what was compared, and how far it is off."""

    target: str
    door: str
    """Inputs of the file: ``raw`` or ``preprocessed``; ``read back`` for values that are read again."""
    compared: str = "outputs"
    difference: float
    """Largest difference, as a fraction of the largest output; for ``metric`` rows how far the metric fell."""
    allowed: float | None
    """The limit; ``None`` for the control, which must differ."""
    latency_ms: float | None = None
    """Milliseconds for one example, the median."""
    frozen_latency_ms: float | None = None
    """The same of the frozen graph in TensorFlow."""
    examples: int = 0
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the comparison came out as it must."""
        return self.difference > 0 if self.allowed is None else self.difference <= self.allowed

    def as_dict(self) -> dict[str, Any]:
        """Return a plain mapping."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The files of a target, in the folder of the export, with their proof."""

    target: str
    files: Sequence[Path]
    proofs: Sequence[Proof]
    problems: Sequence[str] = ()
    """Why the proof failed, a sentence each."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the packages that converted and computed."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further facts for ``export.json``."""


_INSIDE = (
    *("name", "weights", "step", "mlflow_run_id"),
    *(
        "classes",
        "labels",
        "predicts",
        "label_steps",
        "columns",
        "missing",
        "delimiter",
        "encoding",
        "decimal",
        "thousands",
    ),
)
"""Metadata of the frozen graph that exported files have inside."""
_FLAGS = {
    "quantize": "--quantize",
    "batch": "--batch",
    "input_shapes": "--input-shape",
    "opset": "--opset",
    "rename_outputs": "--rename-output",
    "layout": "--layout",
    "rules": "--rules",
}
"""Options that are not for every target, by their field."""


class Target(ABC):
    """Format of exported files, which writes them and proves that they give the same values."""

    name: ClassVar[str]
    extra: ClassVar[str | None] = None
    """Extra of expkit that installs what it needs; ``None`` where nothing is needed."""
    takes: ClassVar[tuple[str, ...]] = ()
    """Fields of the options that it takes, of those that are not for every target."""
    modules: ClassVar[Mapping[str, str]] = {}
    """Packages by the module that must be importable; of alternatives, joined by ``|``, one is enough."""

    def problems(self, source: ExportSource, options: ExportOptions) -> list[Problem]:
        """Return the problems of the settings, before anything is converted."""
        return []

    @abstractmethod
    def write(self, source: ExportSource, options: ExportOptions, into: Path, say: Callable[[str], None]) -> Exported:
        """Write the files into a folder, read or run them, and compare.

        Args:
            source: what is exported.
            options: settings of the export.
            into: an empty folder of the target's own.
            say: takes a sentence about what goes on.

        Raises:
            ExportError: it cannot be converted at all.
        """

    def keep_inside(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Add facts to what was written into a folder, where the format has a place for them."""
        return

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that it needs."""
        found = {}
        for package in "|".join(self.modules.values()).split("|"):
            try:
                found[package] = importlib.metadata.version(package)
            except (importlib.metadata.PackageNotFoundError, ValueError):
                continue
        return found


def target(name: str) -> Target:
    """Return the target of a name among ``TARGETS``."""
    found = importlib.import_module(TARGETS[name]).TARGET
    assert isinstance(found, Target)
    return found


def chosen_targets(names: Sequence[str], at: str) -> list[Target]:
    """Return the targets of names.

    Raises:
        ExportError: with every name that is unknown, or that is there twice.
    """
    if wrong := [name for name in names if name not in TARGETS]:
        problems = (Problem(at, unknown(f"no target '{name}'", name, TARGETS)) for name in dict.fromkeys(wrong))
        raise ExportError(*problems)
    if not names:
        raise ExportError.at(at, f"names no target; allowed: {', '.join(TARGETS)}")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ExportError.at(at, f"names {comma_list(twice)} twice; name each once")
    return [target(name) for name in names]


def check_options(targets: Sequence[Target], options: ExportOptions) -> None:
    """Check that each option that was given is for one of the targets.

    Raises:
        ExportError: with every option that none takes.
    """
    default = ExportOptions()
    given = [name for name in _FLAGS if getattr(options, name) != getattr(default, name)]
    problems = []
    for name in given:
        if not any(name in item.takes for item in targets):
            able = [other for other in TARGETS if name in target(other).takes]
            lacking = "which --to does not name" if len(able) == 1 else "none of which --to names"
            problems.append(Problem(_FLAGS[name], f"is for {comma_list(able)}, {lacking}"))
    if problems:
        raise ExportError(*problems)


def check_installed(targets: Sequence[Target], at: str) -> None:
    """Check that what the targets need is installed.

    Raises:
        ExportError: one message, with the command that installs all that is missing.
    """
    lacking = {
        item: absent
        for item in targets
        if (absent := [package for module, package in item.modules.items() if not _any_installed(module)])
    }
    if lacking:
        shown = "; ".join(f"{item.name} needs {' and '.join(absent)}" for item, absent in lacking.items())
        extras = ",".join(str(item.extra) for item in lacking)
        raise ExportError.at(at, f"{shown}, not installed; pip install 'expkit[{extras}]'")


def _any_installed(modules: str) -> bool:
    return any(is_installed(module) for module in modules.split("|"))

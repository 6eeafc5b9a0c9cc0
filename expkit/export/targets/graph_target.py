"""Targets that are graphs: converted in a process of their own, and proven by running them in their runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from expkit.errors import ExportError, Problem
from expkit.export.converters.job import Conversion
from expkit.export.differences import difference
from expkit.export.doors import Door, DoorName, layer_tensors, open_door, unread_inputs, without_values
from expkit.export.exported_examples import Batches, door_examples, frozen_latency, frozen_outputs
from expkit.export.failures import blamed
from expkit.export.inside import write_inside
from expkit.export.metrics_of_outputs import metric_rows
from expkit.export.preprocessing import PREPROCESSING, write_preprocessing
from expkit.export.randomness import randomness_problems
from expkit.export.reference import is_large
from expkit.export.targets.base import Exported, ExportOptions, ExportSource, Proof, Target
from expkit.export.targets.converting import convert_in_child, write_job
from expkit.export.targets.processes import Runtime
from expkit.export.targets.runtimes import save
from expkit.export.targets.verdicts import failures_of
from expkit.export.targets.ways import ways

__all__ = ["GraphTarget"]

Arrays = Mapping[str, np.ndarray]
REPEAT = 20
"""Runs of one example, of which the median is the latency."""


class GraphTarget(Target):
    """A format whose files compute the outputs of the frozen graph."""

    takes: ClassVar[tuple[str, ...]] = ("batch", "input_shapes", "rename_outputs")
    file: ClassVar[str]
    """Name of the file or folder that is written."""
    quantizes: ClassVar[bool] = False
    refused: ClassVar[frozenset[str]] = frozenset({"string"})
    """Dtypes of inputs that the format cannot read; the preprocessing that does is then in a file beside it."""
    hint: ClassVar[str] = ""
    """Way out where the runtime refuses the file."""
    batch: ClassVar[int | None] = None
    """The number of examples that files of the format are fixed to."""

    def doors(self, source: ExportSource, options: ExportOptions) -> list[Door]:
        """Return the doors that are proven; the first is the one that the file is made from."""
        read = {item["dtype"] for item in source.frozen.metadata["inputs"].values()}
        behind = read & self.refused and source.frozen.metadata.get("preprocessed")
        door = self._door(source, "preprocessed" if behind else "raw", options)
        if unread := unread_inputs(door):
            raise ExportError.at(f"--to {self.name}", f"{unread}, which the format cannot read; use savedmodel")
        return [door]

    def signature(self, door: Door, *, several: bool) -> str:
        """Return what tells the runtime which part of the file to run."""
        return ""

    def keep_inside(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Add facts to the file."""
        write_inside(self.name, folder / self.file, about)

    def problems(self, source: ExportSource, options: ExportOptions) -> list[Problem]:
        """Return the problems of the settings, before anything is converted."""
        sizes = {name: shape[0] for name, shape in options.input_shapes.items() if shape}
        if other := [name for name, size in sizes.items() if options.batch and size not in (None, options.batch)]:
            text = f"{other[0]} would have {sizes[other[0]]} examples, --batch says {options.batch}; give one of both"
            return [Problem("--input-shape", text)]
        if options.quantize == "int8" and self.quantizes and source.run is None and source.examples is None:
            text = "int8 is calibrated on examples of the training part; give the run's folder, or --examples FILE.npz"
            return [Problem("--quantize", text)]
        return randomness_problems(source, self.doors(source, options)[0])

    def write(self, source: ExportSource, options: ExportOptions, into: Path, say: Callable[[str], None]) -> Exported:
        """Convert, run and compare."""
        doors = self.doors(source, options)
        quantized = options.quantize != "none" and self.quantizes
        say(f"{self.name}: converting")
        proofs: list[Proof] = []
        if doors[0].name == "preprocessed":
            write_preprocessing(source.frozen, doors[0].inputs, into / PREPROCESSING)
        with ThreadPoolExecutor(1) as beside:
            converted = beside.submit(self._convert, source, options, doors, into / self.file)
            for door in doors:
                at = into / self.file, self.signature(door, several=len(doors) > 1)
                proofs += self._proven(source, options, door, at, converted.result, say)
        if quantized and source.run is not None:
            say(f"{self.name}: evaluating {options.quantize} on the test part")
            proofs = self._with_metrics(source, options, doors[0], into / self.file, proofs)
        problems = failures_of(proofs, quantized=quantized)
        if options.per_layer or problems:
            say(f"{self.name}: comparing layers")
            proofs += (worst := self._layers(source, options, doors[0]))
            if not worst:
                say(f"{self.name}: outputs of layers cannot be had")
            first = next((row for row in worst if row.difference > options.tolerance), None)
            drift = max(worst, key=lambda row: row.difference, default=None)
            if problems and drift is not None and first is not None:
                problems.append(
                    f"the first layer that differs is '{first.note}' ({first.difference:.3g}); the output "
                    f"that drifts most is that of '{drift.note}' ({drift.difference:.3g})"
                )
        return Exported(
            target=self.name,
            files=[into / self.file],
            proofs=proofs,
            problems=problems,
            versions=self.versions(),
            settings={
                "door": [door.name for door in doors],
                "inputs": doors[0].inputs,
                "outputs": doors[0].outputs,
                "quantize": options.quantize if quantized else "none",
            },
        )

    def _door(
        self, source: ExportSource, name: DoorName, options: ExportOptions, fetch: Mapping[str, str] | None = None
    ) -> Door:
        return open_door(
            source.frozen,
            name,
            batch=options.batch or self.batch,
            shapes=options.input_shapes,
            rename=options.rename_outputs,
            fetch=fetch,
        )

    def _convert(self, source: ExportSource, options: ExportOptions, doors: list[Door], into: Path) -> None:
        """Convert the first door, whose large constants are then no longer held."""
        door = doors[0]
        with TemporaryDirectory(prefix="expkit-") as temporary:
            folder = Path(temporary)
            calibration = None
            if options.quantize == "int8" and self.quantizes:
                calibration = folder / "calibration.npz"
                save(calibration, door_examples(source, door, split="train").inputs)
            job = Conversion(
                target=self.name,
                graph=str(folder / "graph.pb"),
                inputs=door.inputs,
                outputs=door.outputs,
                into=str(into),
                quantize=options.quantize if self.quantizes else "none",
                opset=options.opset,
                calibration=None if calibration is None else str(calibration),
                second_inputs=doors[1].inputs if len(doors) > 1 else None,
                name=str(source.frozen.metadata.get("name", "expkit")),
            )
            write_job(job, door, folder)
            doors[0] = door = without_values(door)
            convert_in_child(job, door.graph_def, folder, options.timeout)
        if not into.exists():
            raise ExportError.at(f"--to {self.name}", "the converter wrote no file")

    def _runtime(self, at: tuple[Path, str], door: Door, options: ExportOptions) -> Runtime:
        def explain(log: str) -> str:
            return "; ".join(filter(None, (blamed(log, door.graph_def), self.hint)))

        place = f"--to {self.name}"
        return Runtime(self.name, at[0], signature=at[1], timeout=options.timeout, at=place, explain=explain)

    def _proven(
        self,
        source: ExportSource,
        options: ExportOptions,
        door: Door,
        at: tuple[Path, str],
        wait: Callable[[], None],
        say: Callable[[str], None],
    ) -> list[Proof]:
        """Return the rows of outputs and of the control; ``wait`` returns when the file is there."""
        begin = partial(self._runtime, at, door, options)
        runtime = None if is_large(source) else begin()  # It loads its libraries while the converter runs.
        rows: list[Proof] = []
        try:
            for way in ways(source, options, door, at[0]):
                examples = door_examples(source, way.door)
                expected, control = frozen_outputs(source, way.door, examples, examples.permuted())
                wait()
                say(f"{self.name}: computing {examples.count} examples ({way.name})")
                runtime = runtime or begin()
                runtime.open()
                got = examples.joined([runtime.run(way.feed(batch))[0] for batch in examples])
                apart, allowed = difference(expected, got), _allowed(options, self.quantizes, source)
                known = "" if apart <= allowed else runtime.explained()
                common: dict[str, Any] = {"target": self.name, "door": way.name, "examples": examples.count}
                rows += [
                    Proof(
                        **common,
                        difference=apart,
                        allowed=allowed,
                        note=f"{examples.note}; {known}" if known else examples.note,
                        **(self._latencies(source, door, examples, runtime) if way.door is door else {}),
                    ),
                    Proof(
                        **common,
                        compared="control: permuted input",
                        difference=_control(control, got, options.tolerance),
                        allowed=None,
                    ),
                ]
        finally:
            if runtime is not None:
                runtime.close()
        return rows

    def _latencies(self, source: ExportSource, door: Door, examples: Batches, runtime: Runtime) -> dict[str, Any]:
        """Return the median milliseconds for one example, of the file and of the frozen graph."""
        one = examples.one(door.batch)
        runtime.run(one)
        _, seconds = runtime.run(one, repeat=REPEAT)
        return {
            "latency_ms": None if seconds is None else seconds * 1e3,
            "frozen_latency_ms": frozen_latency(source, door, one, REPEAT) * 1e3,
        }

    def _with_metrics(
        self, source: ExportSource, options: ExportOptions, door: Door, file: Path, proofs: list[Proof]
    ) -> list[Proof]:
        """Return the rows with those of the run's metrics on the whole test part."""
        assert source.run is not None
        way = ways(source, options, door, file)[-1]
        examples = door_examples(source, way.door, whole=True)
        with self._runtime((file, self.signature(door, several=False)), door, options) as runtime:
            got = examples.joined([runtime.run(way.feed(batch))[0] for batch in examples])
        (expected,) = frozen_outputs(source, way.door, examples)
        origin = way.door.origins
        rows = metric_rows(
            source.run,
            {origin[name]: array for name, array in expected.items()},
            {origin[name]: array for name, array in got.items() if name in origin},
        )
        if not rows:
            return [row if row.allowed is None else replace(row, allowed=options.tolerance) for row in proofs]
        return proofs + [
            Proof(
                target=self.name,
                door=way.name,
                compared=f"metric {row.name}",
                difference=row.drop,
                allowed=options.max_drop,
                examples=source.run.dataset.size("test"),
                note=f"{row.before:.6g} -> {row.after:.6g}",
            )
            for row in rows
        ]

    def _layers(self, source: ExportSource, options: ExportOptions, door: Door) -> list[Proof]:
        """Return a row for every layer whose output can be fetched, in their order; none where that fails."""
        tensors = layer_tensors(door.graph_def)
        if not tensors:
            return []
        try:
            inner = self._door(source, door.name, options, fetch=tensors)
            tensors = {key: value for key, value in tensors.items() if inner.outputs[key]["shape"]}
            inner = self._door(source, door.name, options, fetch=tensors)
            examples = door_examples(source, door)
            with TemporaryDirectory(prefix="expkit-") as folder:
                self._convert(source, options, [inner], Path(folder) / self.file)
                at = Path(folder) / self.file, self.signature(inner, several=False)
                with self._runtime(at, inner, options) as runtime:
                    batch = examples.first()
                    got, _ = runtime.run(batch)
            (expected,) = frozen_outputs(source, inner, Batches.of(batch))
        except ExportError:
            return []  # Not every target can give the outputs of every layer.
        return [
            Proof(
                target=self.name,
                door=door.name,
                compared=f"layer {name}",
                difference=difference({name: expected[name]}, got),
                allowed=float("inf"),
                note=name,
            )
            for name in expected
            if name in got
        ]


def _allowed(options: ExportOptions, quantizes: bool, source: ExportSource) -> float:
    """Return the largest difference of outputs; of a quantized file of a run the metrics decide."""
    judged = options.quantize != "none" and quantizes and source.run is not None
    return float("inf") if judged else options.tolerance


def _control(control: Arrays, got: Arrays, tolerance: float) -> float:
    """Return by how much the frozen graph differs on a permuted input; 0 if that would pass as equal."""
    apart = difference(control, got)
    return apart if apart > tolerance else 0.0

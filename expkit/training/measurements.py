"""Execution modes that were measured, kept in the folder of all runs: no run measures what another has measured."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from expkit.config.load import plain
from expkit.data.dataset import Dataset
from expkit.fs import atomic_write_text, file_lock, read_json
from expkit.machine import cores
from expkit.preflight import CheckedConfig
from expkit.provenance import digest_of, versions
from expkit.training.execution import ExecutionChoice

__all__ = ["Measurements", "measured_for", "same_graph"]

_TRAIN = (
    "batch_size",
    "gradient_accumulation_steps",
    "jit_compile",
    "losses",
    "metrics",
    "parallelism",
    "phases",
    "precision",
    "steps_per_execution",
)
"""Fields of ``train`` that the speed of an execution mode depends on."""
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS")

_log = logging.getLogger(__name__)


class Measurements:
    """The execution modes in ``execution.json`` of the folder of all runs; the file may be deleted at any time."""

    def __init__(self, runs: Path) -> None:
        self._file = runs / "execution.json"

    def find(self, key: str) -> ExecutionChoice | None:
        """Return the choice that was kept under a key; ``None`` if there is none, or the file is damaged."""
        try:
            kept = TypeAdapter(ExecutionChoice).validate_python(read_json(self._file).get(key))
        except ValidationError:
            return None
        if kept.execution.steps_per_execution < 1:
            return None
        return ExecutionChoice(kept.execution, f"{kept.reason}, in an earlier run")

    def keep(self, key: str, choice: ExecutionChoice) -> None:
        """Keep a choice; where the folder cannot be written, the next run measures again."""
        self._keep(key, choice.as_dict())

    def _keep(self, key: str, plain: Any) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)  # A sweep may be elsewhere.
            atomic_write_text(self._file, json.dumps({**read_json(self._file), key: plain}, indent=2) + "\n")
        except OSError as error:
            _log.info("the execution mode is not kept in %s: %s", self._file, error)

    def fed(self, key: str) -> tuple[str, ...] | None:
        """Return the names of the numbers that are known to be exact when they are fed; ``None`` where unknown."""
        try:
            return TypeAdapter(tuple[str, ...]).validate_python(read_json(self._file).get(key))
        except ValidationError:
            return None

    def keep_fed(self, key: str, names: Collection[str]) -> None:
        """Keep the names of the numbers that are exact when they are fed."""
        with self.alone():
            self._keep(key, list(names))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process measures, and let none begin inside the block."""
        with ExitStack() as held:
            with suppress(OSError):  # A folder that cannot be written is shared with no one who could keep a choice.
                self._file.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(file_lock(self._file.with_suffix(".lock"), wait=True))
            yield


def measured_for(checked: CheckedConfig, dataset: Dataset) -> str:
    """Return a hash of all that the speed of an execution mode depends on: graph, batch, processor and TensorFlow.

    Fractional numbers, such as rates, are left out: a step of other numbers takes as long.
    """
    return same_graph(checked, dataset)


def same_graph(checked: CheckedConfig, dataset: Dataset, more: Sequence[Any] = ()) -> str:
    """Return a hash of the graph but for fractional numbers, of the machine, and of more plain data."""
    config = plain(checked.config)
    train = dataset.splits["train"]
    described = {
        "network": config["network"],
        "optimizer": config["optimizer"],
        "ema": config["ema"],
        "train": {name: config["train"][name] for name in _TRAIN},
        "fields": {name: [list(values.shape[1:]), str(values.dtype)] for name, values in train.items()},
        "placement": dataset.placement,
        "machine": [platform.machine(), _processor(), cores(), {name: os.environ.get(name) for name in _THREADS}],
        "versions": versions(),
        **({"more": more} if more else {}),
    }
    return digest_of(_structure(described))


def _structure(value: Any) -> Any:
    """Return plain data with 0 in place of every fractional number."""
    if isinstance(value, Mapping):
        return {name: _structure(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_structure(item) for item in value]
    return 0.0 if isinstance(value, float) else value


def _processor() -> str:
    """Return the name of the processor; the system's word for it where there is no ``/proc/cpuinfo``."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()

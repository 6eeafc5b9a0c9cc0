"""Graphs with open sessions that the runs of a sweep share, as far as they differ in numbers alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from expkit.config.schema import Config
from expkit.config.sections.export import ExportConfig
from expkit.data.dataset import Dataset
from expkit.kinds.layers.random import Random
from expkit.network.phases import Phase
from expkit.network.spec import NetworkSpec
from expkit.preflight import CheckedConfig
from expkit.training.execution import Execution
from expkit.training.graphs import EvaluateGraph, evaluate_graph, train_graph
from expkit.training.inference import InferGraph, infer_graph
from expkit.training.measurements import Measurements, same_graph
from expkit.training.numbers import SEED, numbers_of, with_numbers
from expkit.training.sessions import Evaluator, Executor

__all__ = ["EvaluationGraphs", "GraphPool"]

MOST_SESSIONS = 4
"""Graphs of training that are kept, and of evaluation."""
MOST_BYTES = 1 << 28
"""Training examples and variables that sessions may hold to be kept, all of them together."""
PROOF_STEPS = 3
"""Steps after which a graph that is fed must have the bits of one with constants."""
AWKWARD = 0.7548776662
"""Factor of the numbers of that proof: of powers of two, products in any order have the same bits."""

FEW_BITS = 0xFFF
"""Bits of a float32 that are 0 in a number of few bits."""

_CLOCK = (
    *("steps", "epochs", "log_every_steps", "evaluate_every_steps", "save_every_steps", "keep_every_steps"),
    *("keep_last", "early_stopping"),
)
"""Fields of ``train`` that the loop reads, and no graph."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class EvaluationGraphs:
    """The graphs that evaluate and predict, with a session on the first."""

    graphs: tuple[EvaluateGraph, InferGraph]
    evaluator: Evaluator
    tried: ExportConfig | None = None
    """Settings with which an earlier run has tried to freeze them."""

    @classmethod
    def of(cls, checked: CheckedConfig, dataset: Dataset) -> EvaluationGraphs:
        """Build the graphs of a run and open the session."""
        inference = infer_graph(checked.spec, dataset.preprocessing, checked.config.run.seed)
        graphs = evaluate_graph(checked, dataset), inference
        return cls(graphs=graphs, evaluator=Evaluator(graphs[0], checked.config))


@dataclass(frozen=True, kw_only=True)
class _Structure:
    """All of a configuration and its data that a graph depends on, but for the numbers that it may be fed."""

    config: Config
    spec: NetworkSpec
    ema_names: tuple[str, ...]
    phases: tuple[Phase, ...]
    data: Mapping[str, Any]

    @classmethod
    def of(cls, checked: CheckedConfig, dataset: Dataset) -> _Structure:
        """Return the structure of a configuration and its data."""
        same = with_numbers(checked, dict.fromkeys(numbers_of(checked), 1))
        config = same.config
        split = config.data.split.model_copy(update={"seed": 0})
        train = config.train.model_copy(update=dict.fromkeys(_CLOCK))
        elsewhere = dict.fromkeys(("network", "restore", "export", "tracking"))
        return cls(
            config=config.model_copy(
                update={
                    **elsewhere,
                    "run": config.run.model_copy(update={"name": "", "folder": "", "resume": None}),
                    "train": train,
                    "data": config.data.model_copy(update={"split": split}),
                }
            ),
            spec=same.spec,
            ema_names=same.ema_names,
            phases=same.phases,
            data={
                "fields": [[name, array.shape, str(array.dtype)] for name, array in dataset.splits["train"].items()],
                "preprocess": json.dumps({name: item.plain() for name, item in dataset.preprocessing.items()}),
                "placement": dataset.placement,
            },
        )


@dataclass(kw_only=True)
class _Evaluated:
    """Graphs of evaluation that are kept."""

    structure: _Structure
    seed: int | None
    """The seed of the run, where outputs depend on it."""
    evaluation: EvaluationGraphs


@dataclass(kw_only=True)
class _Trained:
    """A graph of training that is kept."""

    structure: _Structure
    execution: Execution
    constants: Mapping[str, float | int]
    """Numbers that it is not fed."""
    executor: Executor
    data: str
    """Digest of the data that its session holds."""
    size: int
    """Bytes that its session holds."""

    def is_own(self, execution: Execution, structure: _Structure, numbers: Mapping[str, float | int]) -> bool:
        """Return True if it is the graph of one run, with all numbers as constants, of a structure."""
        return (self.execution, self.structure) == (execution, structure) and self.constants.keys() == numbers.keys()


@dataclass(kw_only=True)
class GraphPool:
    """Keeps graphs and sessions from run to run of one process.

    A first graph of training has its numbers as constants, as that of a single run. When a second run differs in
    numbers alone, a graph is built that is fed them. It is used if it is proven to give the same bits, because
    TensorFlow and XLA may compute with constants in another order; else the seed alone is fed, or nothing. The folder
    of runs keeps which it was, so that the next process begins with that graph.
    """

    built: int = 0
    """Number of graphs that were built, kept or not."""
    _evaluated: list[_Evaluated] = field(default_factory=list)
    _trained: list[_Trained] = field(default_factory=list)
    _built: set[str] = field(default_factory=set)
    """Hashes of structures of which a graph of training was built."""

    def of(self, checked: CheckedConfig, dataset: Dataset) -> EvaluationGraphs:
        """Return the graphs of evaluation of a run, with an open session."""
        structure = _Structure.of(checked, dataset)
        layers = (layer.layer for layer in checked.spec.every_layer)
        draws = any(isinstance(layer, Random) and layer.when == "always" for layer in layers)
        seed = checked.config.run.seed if draws else None
        self._evaluated = [kept for kept in self._evaluated if not kept.evaluation.evaluator.closed]
        for kept in self._evaluated:
            if (kept.seed, kept.structure) == (seed, structure):
                return kept.evaluation
        evaluation = EvaluationGraphs.of(checked, dataset)
        self.built += 1
        if _may_be_kept(checked, dataset):
            while len(self._evaluated) >= MOST_SESSIONS:
                self._evaluated.pop(0).evaluation.evaluator.close()
            evaluation.evaluator.shared = True
            self._evaluated.append(_Evaluated(structure=structure, seed=seed, evaluation=evaluation))
        return evaluation

    def executor(self, checked: CheckedConfig, dataset: Dataset, execution: Execution) -> Executor:
        """Return an executor of a run, whose variables are not initialized.

        Its execution mode may have fewer steps per execution than requested.
        """
        if not _may_be_kept(checked, dataset):
            self.built += 1
            return Executor(train_graph(checked, dataset, execution))
        numbers, structure = numbers_of(checked), _Structure.of(checked, dataset)
        self._trained = [kept for kept in self._trained if not kept.executor.closed]
        for kept in self._trained:
            same = (kept.execution, kept.structure) == (execution, structure)
            if same and all(numbers[name] == value for name, value in kept.constants.items()):
                kept.executor.renew(numbers, None if kept.data == dataset.digest else dataset.splits["train"])
                kept.data = dataset.digest
                return kept.executor
        size = _size(checked, dataset)
        while len(self._trained) >= MOST_SESSIONS or size + sum(kept.size for kept in self._trained) > MOST_BYTES:
            self._trained.pop(0).executor.close()
        own = next((kept for kept in self._trained if kept.is_own(execution, structure, numbers)), None)
        # Other numbers than these are in the structure: those may be in products with them.
        self.built += 1
        key = same_graph(checked, dataset, [str(execution), list(numbers), repr(structure)])
        fed, executor = _fed(checked, dataset, execution, key, prove=key in self._built, own=own)
        self._built.add(key)
        if own is not None and SEED in fed:
            self._trained.remove(own)  # The graph that is fed serves its run too.
            own.executor.close()
        executor = executor or Executor(train_graph(checked, dataset, execution))
        executor.shared = True
        constants = {name: value for name, value in numbers.items() if name not in fed}
        self._trained.append(
            _Trained(
                structure=structure,
                execution=execution,
                constants=constants,
                executor=executor,
                data=dataset.digest,
                size=size,
            )
        )
        return executor


def _fed(
    checked: CheckedConfig, dataset: Dataset, execution: Execution, key: str, *, prove: bool, own: _Trained | None
) -> tuple[Collection[str], Executor | None]:
    """Return the names of the numbers that a graph may be fed, and an executor of that graph, if any.

    Args:
        checked: configuration.
        dataset: data.
        execution: execution mode.
        key: hash of all that the graph depends on, but for these numbers.
        prove: whether to prove it where no earlier run has; else nothing is fed then.
        own: the graph of an earlier run that has its numbers as constants, if it is kept.
    """
    numbers = numbers_of(checked)
    measurements = Measurements(Path(checked.config.run.folder))
    if (known := measurements.fed(key)) is not None:
        return known, Executor(train_graph(checked, dataset, execution, known), numbers) if known else None
    if not prove:
        return (), None
    for names in (tuple(numbers), (SEED,)):
        executor = Executor(train_graph(checked, dataset, execution, names), numbers)
        if _is_exact(checked, dataset, executor, names, own if names != (SEED,) else None):
            measurements.keep_fed(key, names)
            executor.renew(numbers, None)
            _log.info("runs share a graph that is fed %s", ", ".join(names))
            return names, executor
        executor.close()
    measurements.keep_fed(key, ())
    return (), None


def _is_exact(
    checked: CheckedConfig, dataset: Dataset, executor: Executor, fed: Collection[str], own: _Trained | None = None
) -> bool:
    """Return whether a graph that is fed its numbers gives the bits of one that has them as constants.

    That is the graph of an earlier run, or a new one where products with its numbers might have the same bits in any
    order.
    """
    if own is not None and all(map(_is_awkward, own.constants.values())):
        numbers, expected = own.constants, own.executor
        expected.renew({}, None if own.data == dataset.digest else dataset.splits["train"])
    else:
        numbers = {
            name: value + 1 if isinstance(value, int) else value * AWKWARD
            for name, value in numbers_of(checked).items()
            if name in fed
        }
        expected = Executor(train_graph(with_numbers(checked, numbers), dataset, executor.execution))
    with expected:
        executor.renew(numbers, None)
        values = []
        for one in (expected, executor):
            one.initialize()
            one.run(PROOF_STEPS)
            values.append(one.values(one.names))
    first, second = values
    return all(first[name].tobytes() == second[name].tobytes() for name in first)


def _is_awkward(number: float | int) -> bool:
    """Return whether neither a number nor its difference to 1 has few bits: 0.001, but not 0.5."""
    parts = np.array([number, 1 - number], np.float32).view(np.uint32)
    return isinstance(number, int) or bool((parts & FEW_BITS != 0).all())


def _may_be_kept(checked: CheckedConfig, dataset: Dataset) -> bool:
    """Return whether sessions of a run may be kept.

    A plugin may compute with a number as it likes; a stream of examples belongs to one run.
    """
    plain = not checked.config.plugins and dataset.placement == "resident"
    return plain and _size(checked, dataset) <= MOST_BYTES


def _size(checked: CheckedConfig, dataset: Dataset) -> int:
    """Return the bytes of training examples and variables, each with two slots and its EMA."""
    examples = sum(array.nbytes for array in dataset.splits["train"].values())
    return examples + 4 * 4 * sum(variable.size for variable in checked.spec.variables.values())

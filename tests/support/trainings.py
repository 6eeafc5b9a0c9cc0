"""Training in tests: the loop in a folder, from its newest checkpoint where it has one, and what it left."""

from __future__ import annotations

import itertools
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from expkit.checkpoints.store import CheckpointStore
from expkit.config.schema import Config
from expkit.training import loop
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.inference import infer_graph
from expkit.training.sessions import Evaluator, Executor
from expkit.training.state import TrainingState
from expkit.training.sums import add_statistics
from support.experiments import CNN, Unseen, Values, config_of, loaded

UNSEEN = Unseen()
CLOCK = {"steps": 11, "log_every_steps": 3, "evaluate_every_steps": 4, "save_every_steps": 5, "keep_last": 9}


@dataclass
class Trained:
    """What a call of the loop left."""

    records: list[tuple[int, dict[str, float]]]
    """Metrics by step; a roll back is ``(step it goes back to, {"back": last step that was not finite})``."""
    values: Values
    store: CheckpointStore
    trained: loop.Trained


def train(config: Config, folder: Path, progress: loop.Progress = UNSEEN) -> Trained:
    """Train in a folder, from its latest checkpoint where it has one, as ``experiment.run`` does."""
    checked, data = loaded(config)
    spec = checked.spec
    store = CheckpointStore.of(folder, config.train)
    records: list[tuple[int, dict[str, float]]] = []
    built = train_graph(checked, data)
    with Executor(built) as executor, Evaluator(evaluate_graph(checked, data), config) as evaluator:
        own = loop.restore_newest(store, executor)
        if own is None:
            executor.initialize()
        trained = loop.Training(
            config=config,
            dataset=data,
            executor=executor,
            evaluator=evaluator,
            store=store,
            meta_graph=infer_graph(spec, data.preprocessing).meta_graph,
            record=lambda step, values: records.append((step, dict(values))),
            rolled_back=lambda roll_backs: records.append(
                (roll_backs[-1].back_to, {"back": float(roll_backs[-1].last)})
            ),
            saved=lambda step: None,
            progress=progress,
            state=TrainingState.of(own.state if own is not None else {}),
        ).run()
        return Trained(records, executor.values(built.variables), store, trained)


def small(folder: Path, **train: Any) -> Config:
    """Return an experiment with all that has a memory: Adam, averages, batch normalization, dropout."""
    return config_of(folder, network=CNN, optimizer={"kind": "adam", "learning_rate": 0.01}, train={**CLOCK, **train})


def interrupt_call(monkeypatch: pytest.MonkeyPatch, which: int, number: signal.Signals = signal.SIGINT) -> None:
    """Send this process a signal in one of the session calls to come, of steps or of evaluations."""
    count = itertools.count(1)

    def add(*arguments: Any) -> None:
        add_statistics(*arguments)
        if next(count) == which:
            signal.raise_signal(number)

    monkeypatch.setattr("expkit.training.sessions.add_statistics", add)

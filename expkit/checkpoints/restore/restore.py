"""Restoring: a plan from the names in the files, carried out in one pass over their tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expkit.checkpoints.formats.open import Source, open_source
from expkit.checkpoints.restore.plan import Offer, Pair, Plan, Wanted
from expkit.checkpoints.restore.planner import restore_plan
from expkit.checkpoints.restore.receipt import receipt_text
from expkit.checkpoints.restore.targets import wanted_by
from expkit.checkpoints.restore.transforms import applied
from expkit.config.schema import Config
from expkit.config.sections.restore import SourceConfig
from expkit.errors import CheckpointError, Problem
from expkit.network.spec import NetworkSpec
from expkit.run_folder import run_of_uri

__all__ = ["Opened", "Restored", "open_sources", "read_values", "restore_from"]


@dataclass(frozen=True)
class Opened:
    """The files of a restore: names, shapes and types are read, values are not."""

    sources: Mapping[str, Source]
    """By the path in the configuration that names each."""
    offers: tuple[Offer, ...]


@dataclass(frozen=True)
class Restored:
    """What a restore did: the plan, and the values by name."""

    plan: Plan
    values: Mapping[str, np.ndarray]

    @property
    def receipt(self) -> str:
        """What went where, with checksums, as JSON."""
        return receipt_text(self.plan, self.values)


def open_sources(config: Config) -> Opened:
    """Open the files that ``restore`` names.

    Raises:
        CheckpointError: ``restore`` names none, or one is missing or damaged.
        RunError: it names a run by its id, and there is none.
    """
    asked = config.restore
    if asked.from_ is None:
        raise CheckpointError.at("restore.from", "nothing to restore; give a checkpoint with restore.from=PATH")
    named: dict[str, SourceConfig] = {"restore": asked}
    named |= {f"restore.sources.{name}": source for name, source in asked.sources.items()}
    sources = {at: _opened(str(source.from_), config.run.folder, f"{at}.from") for at, source in named.items()}
    return Opened(sources, tuple(_offer(at, sources[at], source) for at, source in named.items()))


def _opened(source: str, runs: str, at: str) -> Source:
    run = run_of_uri(source, runs, at)
    return open_source(source if run is None else run.path, at)


def restore_from(config: Config, spec: NetworkSpec) -> Restored:
    """Return the values that ``restore`` of the configuration gives to variables, averages, slots and counters.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit.
    """
    opened = open_sources(config)
    plan = restore_plan(wanted_by(config, spec), opened.offers, config.restore.keep_initial)
    plan.check()
    values = _carried_out(plan, opened.sources)
    step = int(values.get("global_step", 0))
    if 0 < config.train.steps <= step:
        raise CheckpointError(
            Problem(
                "train.steps",
                f"is {config.train.steps}, but the optimizer that is restored has done {step} steps, which count; give "
                "more, or set restore.optimizer to reset",
            )
        )
    return Restored(plan, values)


def read_values(source: Source, wanted: Mapping[str, Wanted], weights: Literal["raw", "ema"] = "raw") -> Restored:
    """Return values from a run's own checkpoint, raw or with the averages in their place.

    Raises:
        CheckpointError: the checkpoint is damaged or does not fit.
    """
    at = source.at
    plan = restore_plan(wanted, [_offer(at, source, SourceConfig(weights=weights))], at=at)
    plan.check()
    return Restored(plan, _carried_out(plan, {at: source}))


def _offer(at: str, source: Source, asked: SourceConfig) -> Offer:
    return Offer(at, str(source.path), source.shapes, source.dtypes, asked)


def _carried_out(plan: Plan, sources: Mapping[str, Source]) -> dict[str, np.ndarray]:
    """Return the values of a complete plan; every tensor is read once, and kept no longer than it is needed."""
    users = Counter((pair.offer, source) for pair in plan.pairs for source in set(pair.sources))
    held: dict[tuple[str, str], np.ndarray] = {}
    values = {}
    for pair in plan.pairs:
        keys = [(pair.offer, source) for source in pair.sources]
        for offer, source in keys:
            if (offer, source) not in held:
                held[offer, source] = sources[offer].read(source)
        values[pair.variable] = _made(pair, [held[key] for key in keys])
        for key in set(keys):
            users[key] -= 1
            if not users[key]:
                del held[key]
    return values


def _made(pair: Pair, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return what a variable gets of the values that its pair names.

    Raises:
        CheckpointError: a value on the way, as after a large ``pad``, does not fit into memory.
    """
    try:
        value = np.concatenate(arrays, pair.axis) if len(arrays) > 1 else arrays[0]
        for step in pair.steps:
            value = applied(step, value)
        return np.asarray(value, order="C")
    except MemoryError:
        raise CheckpointError.at(
            pair.offer, f"variable '{pair.variable}': {pair.changes} takes more memory than there is; make it smaller"
        ) from None

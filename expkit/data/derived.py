"""Values of the configuration that follow from the data: steps of epochs, weights and names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

from expkit.config.schema import Config
from expkit.data.classes import Classes, named_config
from expkit.data.dataset import Dataset
from expkit.errors import DataError, Problem
from expkit.kinds.class_weights import BALANCED, ClassWeighted
from expkit.kinds.schedules import Schedule
from expkit.kinds.sources.on_disk import scan
from expkit.network.spec import NetworkSpec

__all__ = ["derived_config", "schedules_follow_steps"]

_Model = TypeVar("_Model", bound=BaseModel)


def derived_config(config: Config, spec: NetworkSpec, dataset: Dataset) -> Config:
    """Return a configuration with numbers where it names classes, balances them, or counts epochs.

    Schedules over the whole training get its steps. What no value follows from the data for is the same object.

    Raises:
        ConfigError: a class has another name.
        DataError: a class to balance has no training example.
    """
    config = named_config(config, dataset.classes)
    config = _balanced(config, spec, dataset)
    steps = config.train.steps_of(dataset.size("train"), lanes=config.data.order == "stream")
    update = {"steps": steps, "epochs": None}
    train = config.train if config.train.steps == steps else config.train.model_copy(update=update)
    return _updated(config, {"train": _with_steps(train, steps), "optimizer": _with_steps(config.optimizer, steps)})


def schedules_follow_steps(config: Config) -> bool:
    """Return True if a schedule spans all steps of the training, whatever their number."""
    return any(_with_steps(section, 1) is not section for section in (config.train, config.optimizer))


def _balanced(config: Config, spec: NetworkSpec, dataset: Dataset) -> Config:
    """Return the configuration with the weights that balance the training examples."""
    problems: list[Problem] = []
    changes = {}
    for at, reader in config.train.readers.items():
        if isinstance(reader, ClassWeighted) and reader.class_weights == BALANCED:
            counts = _counts(reader, spec, dataset)
            if problem := _absent(counts, dataset.classes.get(reader.labels)):
                problems.append(Problem(f"{at}.class_weights", problem))
            else:
                changes[at] = reader.balanced(counts)
    if problems:
        raise DataError(*problems)
    return _updated(config, {"train": config.train.with_readers(changes)})


def _counts(reader: ClassWeighted, spec: NetworkSpec, dataset: Dataset) -> np.ndarray:
    fields, total = dataset.splits["train"], np.zeros(())
    first, *others = dict.fromkeys(reader.data_fields.values())
    for indices, values in scan(fields[first]):
        read = {first: values, **{name: fields[name][indices] for name in others}}
        total = total + reader.class_counts(replace(spec.readable, fields=read))
    return np.asarray(total)


def _absent(counts: np.ndarray, classes: Classes | None) -> str | None:
    absent = np.flatnonzero(counts <= 0).tolist()
    if not absent:
        return None
    number = absent[0]
    name = f"'{classes.names[number]}'" if classes is not None else str(number)
    more = f" (nor have {len(absent) - 1} others)" if len(absent) > 1 else ""
    return (
        f"is balanced, but class {name} has no training example that counts{more}, so its weight would be infinite; "
        "give a weight to every class, or leave the class out of network and data"
    )


def _updated(model: _Model, values: Mapping[str, Any]) -> _Model:
    """Return a model with other values; the same object if all are the same."""
    changed = {name: value for name, value in values.items() if value is not getattr(model, name)}
    return model.model_copy(update=changed) if changed else model


def _with_steps(value: Any, steps: int) -> Any:
    """Return a value whose schedules over the whole training have its steps; the same object if there are none."""
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        done = _updated(value, {name: _with_steps(item, steps) for name, item in fields.items()})
        return done.over(steps) if isinstance(done, Schedule) else done
    if isinstance(value, dict):
        items = {key: _with_steps(item, steps) for key, item in value.items()}
        return value if all(item is value[key] for key, item in items.items()) else items
    if isinstance(value, tuple):
        members = tuple(_with_steps(item, steps) for item in value)
        same = all(new is old for new, old in zip(members, value, strict=True))
        return value if same else members
    return value

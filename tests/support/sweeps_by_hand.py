"""Sweeps made by hand: run folders with the files that a report reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from expkit.plots.axis_scale import value_text

Point = Mapping[str, float]


def curve(*scores: float, rate: float = 100.0) -> list[Point]:
    """Return points of a run that is evaluated every ten steps, raw and EMA."""
    return [
        {
            "step": 10 * (place + 1),
            "train/loss": 1 / (place + 1),
            "train/steps_per_second": rate,
            "valid/accuracy": score,
            "valid/accuracy/ema": score / 2,
        }
        for place, score in enumerate(scores)
    ]


def write_run(
    folder: Path, values: Mapping[str, Any], points: Sequence[Point], status: str = "FINISHED", error: str | None = None
) -> Path:
    """Write a run's folder; values are nested by the dots of their keys, and its overrides."""
    folder.mkdir(parents=True)
    nested: dict[str, Any] = {"run": {"name": "made"}, "train": {"best_metric": "valid/accuracy", "best_mode": "max"}}
    nested["train"]["metrics"] = {"accuracy": {"kind": "accuracy"}, "far": {"kind": "mean_absolute_error"}}
    for key, value in values.items():
        *path, end = key.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[end] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(nested))
    overrides = [f"{key}={value_text(value)}" for key, value in values.items()]
    (folder / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    (folder / "run.json").write_text(json.dumps({"name": "made", "status": status, "error": error}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    return folder


def write_sweep(folder: Path) -> Path:
    """Write nine runs over two parameters, of which two fail, one of them before it is measured."""
    number = 0
    for units in (16, 32, 64):
        for rate in (0.1, 0.01, 0.001):
            score = 0.5 + units / 200 - abs(rate - 0.01)
            values = {"network.layers.first.units": units, "optimizer.learning_rate": rate, "train.steps": 20}
            run = folder / f"{number}_made"
            if number == 3:
                write_run(run, values, curve(0.1), "FAILED", "train: the loss became nan <b>at</b> once")
            elif number == 4:
                write_run(run, values, [], "FAILED", "data: gone")
            else:
                write_run(run, values, curve(score / 2, score, rate=6400 / units))
            number += 1
    return folder

"""Data for the plots of a run besides its metrics, collected while its graphs are open."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.errors import DataError, reading
from expkit.fs import atomic_write
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec
from expkit.plots.head import Head, HeadCounter
from expkit.training.by_class import Classified, classified_outputs

__all__ = ["Histogram", "Outputs", "PlotData", "collect_plot_data", "heads", "histogram"]

MAX_SHOWN = 24
"""Maximum number of variables that are shown."""
MAX_VALUES = 1_000_000
"""Maximum number of values of a variable in its histogram, taken at regular distances."""
MAX_BINS = 60
"""Maximum number of bins of a histogram; variables of few values have fewer."""

Arrays = Mapping[str, np.ndarray]
Outputs = Callable[[Arrays], Mapping[str, Mapping[str, np.ndarray]]]
"""Computes the network's outputs from fields of the data, by weights and output name."""


@dataclass(frozen=True)
class Histogram:
    """Histogram of a variable's values."""

    edges: np.ndarray
    counts: Arrays
    """Counts between the edges, by weights: ``raw``, and ``ema`` if there are EMA weights."""


@dataclass(frozen=True, kw_only=True)
class PlotData:
    """Predictions and variables of a checkpoint, for plots."""

    step: int
    weights: str
    """Weights of the predictions: ``ema`` if there are EMA weights, otherwise ``raw``."""
    heads: Mapping[str, Head]
    variables: int
    """Number of variables of the network; ``histograms`` has the largest of them."""
    histograms: Mapping[str, Histogram]

    def save(self, path: Path) -> None:
        """Write into one ``.npz`` file, whole or not at all."""
        facts = {
            "step": self.step,
            "weights": self.weights,
            "variables": self.variables,
            "heads": {
                name: {"classes": head.classes, "images": list(head.images), "names": list(head.names)}
                for name, head in self.heads.items()
            },
            "histograms": {name: list(item.counts) for name, item in self.histograms.items()},
        }
        arrays = {"facts": np.array(json.dumps(facts))}
        for index, head in enumerate(self.heads.values()):
            arrays |= {f"head{index}/{field}": getattr(head, field) for field in ("pairs", "worst", "certainty")}
            arrays |= {f"head{index}/image{number}": image for number, image in enumerate(head.images.values())}
        for index, item in enumerate(self.histograms.values()):
            arrays[f"histogram{index}/edges"] = item.edges
            arrays |= {f"histogram{index}/{weights}": counts for weights, counts in item.counts.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> PlotData:
        """Read a file that ``save`` wrote.

        Raises:
            DataError: it is damaged.
        """
        with reading(str(path), "not readable", raises=DataError), np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            heads = {
                name: Head(
                    classes=item["classes"],
                    pairs=arrays[f"head{index}/pairs"],
                    worst=arrays[f"head{index}/worst"],
                    certainty=arrays[f"head{index}/certainty"],
                    images={image: arrays[f"head{index}/image{number}"] for number, image in enumerate(item["images"])},
                    names=tuple(item["names"]),
                )
                for index, (name, item) in enumerate(facts["heads"].items())
            }
            histograms = {
                name: Histogram(
                    arrays[f"histogram{index}/edges"],
                    {weights: arrays[f"histogram{index}/{weights}"] for weights in kept},
                )
                for index, (name, kept) in enumerate(facts["histograms"].items())
            }
        numbers = {name: facts[name] for name in ("step", "weights", "variables")}
        return cls(**numbers, heads=heads, histograms=histograms)


def collect_plot_data(
    config: Config, spec: NetworkSpec, dataset: Dataset, outputs: Outputs, values: Arrays, step: int
) -> PlotData:
    """Return the data for the plots of a checkpoint.

    Args:
        config: the experiment.
        spec: its network.
        dataset: its data.
        outputs: the network with the values of the checkpoint.
        values: variables and EMA variables of the checkpoint, by name.
        step: step of the checkpoint.
    """
    found = heads(config, spec, dataset)
    size = config.train.evaluation_batch_size
    test = dataset.splits["test"]
    count = dataset.size("test") if found else 0
    weights = "ema" if any(ema_name(name) in values for name in spec.variables) else "raw"
    counters = {name: HeadCounter(item.names) for name, item in found.items()}
    for start in range(0, count, size):
        batch = {name: np.asarray(array[start : min(start + size, count)]) for name, array in test.items()}
        answer = outputs(batch)[weights]
        for name, item in found.items():
            counters[name].add(answer[item.output], batch[item.labels])
    shapes = {name: config.data.source.image_shape(item.shape) for name, item in spec.trained.inputs.items()}
    images = {name: (test[name], shape) for name, shape in shapes.items() if shape is not None}
    predictions = {name: counter.head(images) for name, counter in counters.items()}
    largest = sorted(spec.variables, key=lambda name: -spec.variables[name].size)[:MAX_SHOWN]
    shown = [name for name in spec.variables if name in largest]
    histograms = {name: histogram(values[name], values.get(ema_name(name))) for name in shown}
    return PlotData(
        step=step,
        weights=weights,
        heads=predictions,
        variables=len(spec.variables),
        histograms=histograms,
    )


def heads(config: Config, spec: NetworkSpec, dataset: Dataset) -> dict[str, Classified]:
    """Return the outputs that are compared with a class per example, by name; with two fields both are in it."""
    found = classified_outputs(config, spec, dataset)
    several = [item.output for item in found]
    return {
        item.output if several.count(item.output) == 1 else f"{item.output} ({item.labels})": item for item in found
    }


def histogram(raw: np.ndarray, ema: np.ndarray | None) -> Histogram:
    """Return the histogram of the finite values of a variable, and of its EMA variable if it has one."""
    given = {"raw": raw} if ema is None else {"raw": raw, "ema": ema}
    values = {weights: _finite(value) for weights, value in given.items()}
    bins = min(MAX_BINS, max(8, 2 * math.isqrt(raw.size)))
    every = np.concatenate([*values.values()])
    low, high = (every.min(), every.max()) if every.size else (0.0, 1.0)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest:  # Too close together for bins of their own, or equal.
        low, high = low - 0.5 * (largest or 1.0), high + 0.5 * (largest or 1.0)
    edges = np.linspace(low, high, bins + 1)
    return Histogram(edges, {weights: np.histogram(value, edges)[0] for weights, value in values.items()})


def _finite(values: np.ndarray) -> np.ndarray:
    """Return at most ``MAX_VALUES`` finite values at regular distances."""
    some = np.asarray(values, np.float64).ravel()[:: max(1, values.size // MAX_VALUES)]
    return some[np.isfinite(some)]

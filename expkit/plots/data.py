"""Data for the plots of a run besides its metrics, collected while its graphs are open."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.errors import DataError, reading
from expkit.fs import atomic_write
from expkit.kinds.sources.on_disk import Array
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec
from expkit.training.by_class import Classified, ClassTable, classified_outputs

__all__ = ["Head", "Histogram", "Outputs", "PlotData", "collect_plot_data", "heads", "histogram"]

MAX_EXAMPLES = 10_000
"""Maximum number of test examples whose predictions are collected."""
MAX_SHOWN = 24
"""Maximum number of misclassified examples, and of variables."""
MAX_VALUES = 1_000_000
"""Maximum number of values of a variable in its histogram, taken at regular distances."""
MAX_BINS = 60
"""Maximum number of bins of a histogram; variables of few values have fewer."""

Arrays = Mapping[str, np.ndarray]
Outputs = Callable[[Arrays], Mapping[str, Mapping[str, np.ndarray]]]
"""Computes the network's outputs from fields of the data, by weights and output name."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Predictions of a classification output on the test split."""

    classes: int
    pairs: np.ndarray
    """[pairs, 3] integers: true class, predicted class, number of examples."""
    worst: np.ndarray
    """[errors, 3] integers: index in the test split, true class, predicted class; worst first."""
    certainty: np.ndarray
    """[errors] probability of the predicted class."""
    images: Arrays = field(default_factory=dict)
    """Images among the inputs of the errors, [errors, height, width, channels], by name."""
    names: tuple[str, ...] = ()
    """Names of the classes, where the labels are text."""

    def name_of(self, number: int) -> str:
        """Return the name of a class; its number where it has none."""
        return self.names[number] if number < len(self.names) else str(number)

    @property
    def wrong(self) -> int:
        """Number of misclassified examples."""
        return int(self.pairs[self.pairs[:, 0] != self.pairs[:, 1], 2].sum())

    @property
    def examples(self) -> int:
        """Number of examples."""
        return int(self.pairs[:, 2].sum())

    def class_table(self, title: str, weights: str) -> ClassTable:
        """Return precision, recall and F1 of every class."""
        true, predicted, count = self.pairs.T
        right = true == predicted
        sums = {
            "labeled": np.bincount(true, count, self.classes),
            "predicted": np.bincount(predicted, count, self.classes),
            "correct": np.bincount(true[right], count[right], self.classes),
            "count": self.examples,
        }
        return ClassTable.of(title, self.names, {weights: sums})


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
    examples: int
    """Number of test examples; ``heads`` has the first ``MAX_EXAMPLES`` of them."""
    heads: Mapping[str, Head]
    variables: int
    """Number of variables of the network; ``histograms`` has the largest of them."""
    histograms: Mapping[str, Histogram]

    def save(self, path: Path) -> None:
        """Write into one ``.npz`` file, whole or not at all."""
        facts = {
            "step": self.step,
            "weights": self.weights,
            "examples": self.examples,
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
        numbers = {name: facts[name] for name in ("step", "weights", "examples", "variables")}
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
    count = min(dataset.size("test"), MAX_EXAMPLES) if found else 0
    weights = "ema" if any(ema_name(name) in values for name in spec.variables) else "raw"
    logits: dict[str, list[np.ndarray]] = {item.output: [] for item in found.values()}
    for start in range(0, count, size):
        batch = {name: np.asarray(array[start : min(start + size, count)]) for name, array in test.items()}
        answer = outputs(batch)[weights]
        for output, batches in logits.items():
            batches.append(answer[output])
    shapes = {name: config.data.source.image_shape(item.shape) for name, item in spec.trained.inputs.items()}
    predictions = {
        name: replace(
            _head(
                np.concatenate(logits[item.output]),
                np.asarray(test[item.labels][:count]),
                {field: (test[field], shape) for field, shape in shapes.items() if shape is not None},
            ),
            names=item.names,
        )
        for name, item in found.items()
    }
    largest = sorted(spec.variables, key=lambda name: -spec.variables[name].size)[:MAX_SHOWN]
    shown = [name for name in spec.variables if name in largest]
    histograms = {name: histogram(values[name], values.get(ema_name(name))) for name in shown}
    return PlotData(
        step=step,
        weights=weights,
        examples=dataset.size("test"),
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


def _head(logits: np.ndarray, labels: np.ndarray, inputs: Mapping[str, tuple[Array, tuple[int, ...]]]) -> Head:
    shifted = logits.reshape(len(logits), -1).astype(np.float64)
    targets = labels.argmax(axis=1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
    if shifted.shape[1] == 1:
        shifted, targets = np.concatenate([np.zeros_like(shifted), shifted], axis=1), targets > 0.5
    targets, classes = targets.astype(np.int64), shifted.shape[1]
    shifted -= shifted.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    predicted = log_probabilities.argmax(axis=1)
    pairs, frequencies = np.unique(np.stack([targets, predicted], axis=1), axis=0, return_counts=True)
    order = np.argsort(log_probabilities[np.arange(len(targets)), targets], kind="stable")
    wrong = order[predicted[order] != targets[order]]
    worst = (wrong if len(wrong) else order)[:MAX_SHOWN]
    return Head(
        classes=classes,
        pairs=np.concatenate([pairs, frequencies[:, None]], axis=1).astype(np.int64),
        worst=np.stack([worst, targets[worst], predicted[worst]], axis=1).astype(np.int64),
        certainty=np.exp(log_probabilities[worst, predicted[worst]]),
        images={name: array[worst].reshape(-1, *shape) for name, (array, shape) in inputs.items()},
    )


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

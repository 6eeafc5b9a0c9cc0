"""What the pictures of a run show besides its metrics, gathered while its graphs are open."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from expkit.config.schema import Config
from expkit.data.dataset import Dataset
from expkit.fs import atomic_write
from expkit.kinds.losses import SparseSoftmaxCrossEntropy, class_labels_problem
from expkit.kinds.metrics import Accuracy, TopK
from expkit.kinds.sources.on_disk import Array
from expkit.network.names import shadow_name
from expkit.network.spec import NetworkSpec

__all__ = ["Evidence", "Head", "Histogram", "evidence_of", "heads", "histogram"]

MOST_EXAMPLES = 10_000
"""How many test examples are looked at one by one."""
MOST_SHOWN = 24
"""How many mistakes are kept, and how many variables."""
MOST_VALUES = 1_000_000
"""How many values of a variable are counted, evenly spread over it."""
BINS = 60
"""Most bins of a histogram; variables of few values have fewer."""

Arrays = Mapping[str, np.ndarray]
Outputs = Callable[[Arrays], Mapping[str, Mapping[str, np.ndarray]]]
"""Gives the network's outputs for fields of the data, by weights and output name."""


@dataclass(frozen=True)
class Head:
    """How an output with classes did on the test part."""

    classes: int
    pairs: np.ndarray
    """[pairs, 3] integers: the class, the one taken for it, how often."""
    worst: np.ndarray
    """[mistakes, 3] integers: the example's place in the test part, its class, the one taken for it; worst first."""
    certainty: np.ndarray
    """[mistakes] probability that the network gave to the class it took."""
    images: Arrays = field(default_factory=dict)
    """The mistakes' inputs that are images, [mistakes, height, width, channels], by name."""

    @property
    def wrong(self) -> int:
        """How many examples were taken for another class."""
        return int(self.pairs[self.pairs[:, 0] != self.pairs[:, 1], 2].sum())

    @property
    def examples(self) -> int:
        """How many examples there were."""
        return int(self.pairs[:, 2].sum())


@dataclass(frozen=True)
class Histogram:
    """How a variable's values are spread."""

    edges: np.ndarray
    counts: Arrays
    """Counts between the edges, by weights: ``raw``, and ``ema`` where averages are kept."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a checkpoint's predictions and values."""

    step: int
    weights: str
    """Whose predictions: ``ema`` where averages are kept, otherwise ``raw``."""
    examples: int
    """Examples of the test part; ``heads`` are of the first ``MOST_EXAMPLES`` of them."""
    heads: Mapping[str, Head]
    variables: int
    """How many variables the network has; ``histograms`` are of the largest."""
    histograms: Mapping[str, Histogram]

    def save(self, path: Path) -> None:
        """Write into one ``.npz`` file, whole or not at all."""
        facts = {
            "step": self.step,
            "weights": self.weights,
            "examples": self.examples,
            "variables": self.variables,
            "heads": {
                name: {"classes": head.classes, "images": list(head.images)} for name, head in self.heads.items()
            },
            "histograms": {name: list(item.counts) for name, item in self.histograms.items()},
        }
        arrays = {"facts": np.array(json.dumps(facts))}
        for place, head in enumerate(self.heads.values()):
            arrays |= {f"head{place}/{part}": getattr(head, part) for part in ("pairs", "worst", "certainty")}
            arrays |= {f"head{place}/image{number}": image for number, image in enumerate(head.images.values())}
        for place, item in enumerate(self.histograms.values()):
            arrays[f"histogram{place}/edges"] = item.edges
            arrays |= {f"histogram{place}/{weights}": counts for weights, counts in item.counts.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """Read what ``save`` wrote."""
        with np.load(path) as arrays:
            facts = json.loads(str(arrays["facts"]))
            heads = {
                name: Head(
                    item["classes"],
                    arrays[f"head{place}/pairs"],
                    arrays[f"head{place}/worst"],
                    arrays[f"head{place}/certainty"],
                    {image: arrays[f"head{place}/image{number}"] for number, image in enumerate(item["images"])},
                )
                for place, (name, item) in enumerate(facts["heads"].items())
            }
            histograms = {
                name: Histogram(
                    arrays[f"histogram{place}/edges"],
                    {weights: arrays[f"histogram{place}/{weights}"] for weights in kept},
                )
                for place, (name, kept) in enumerate(facts["histograms"].items())
            }
        return cls(facts["step"], facts["weights"], facts["examples"], heads, facts["variables"], histograms)


def evidence_of(
    config: Config, spec: NetworkSpec, dataset: Dataset, outputs: Outputs, values: Arrays, step: int
) -> Evidence:
    """Look at the test part's predictions, and at the variables.

    Args:
        config: the experiment.
        spec: its network.
        dataset: its data.
        outputs: of the checkpoint's network.
        values: of the checkpoint's variables and averages, by name.
        step: the checkpoint's.
    """
    found = heads(config, spec, dataset)
    size = config.train.evaluation_batch_size
    test = dataset.parts["test"]
    count = min(dataset.size("test"), MOST_EXAMPLES) if found else 0
    weights = "ema" if any(shadow_name(name) in values for name in spec.variables) else "raw"
    logits: dict[str, list[np.ndarray]] = {output: [] for output, _ in found.values()}
    for start in range(0, count, size):
        batch = {name: np.asarray(array[start : min(start + size, count)]) for name, array in test.items()}
        answer = outputs(batch)[weights]
        for output, parts in logits.items():
            parts.append(answer[output])
    shapes = {name: config.data.source.image_shape(item.shape) for name, item in spec.inputs.items()}
    judged = {
        name: _judged(
            np.concatenate(logits[output]),
            np.asarray(test[labels][:count]),
            {field: (test[field], shape) for field, shape in shapes.items() if shape is not None},
        )
        for name, (output, labels) in found.items()
    }
    largest = sorted(spec.variables, key=lambda name: -spec.variables[name].size)[:MOST_SHOWN]
    shown = [name for name in spec.variables if name in largest]
    histograms = {name: histogram(values[name], values.get(shadow_name(name))) for name in shown}
    return Evidence(step, weights, dataset.size("test"), judged, len(spec.variables), histograms)


def heads(config: Config, spec: NetworkSpec, dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Return the outputs that are judged by class numbers: a name, then the output and the field of the labels."""
    judges = [*config.train.losses.values(), *config.train.metrics.values()]
    pairs = dict.fromkeys(
        (judge.output, judge.labels)
        for judge in judges
        if isinstance(judge, SparseSoftmaxCrossEntropy | Accuracy | TopK)
        and spec.output_spec(judge.output).shape != (1,)
        and class_labels_problem(spec.output_spec(judge.output), np.asarray(dataset.parts["test"][judge.labels][:1]))
        is None
    )
    several = [output for output, _ in pairs]
    return {
        output if several.count(output) == 1 else f"{output} ({labels})": (output, labels) for output, labels in pairs
    }


def _judged(logits: np.ndarray, truth: np.ndarray, inputs: Mapping[str, tuple[Array, tuple[int, ...]]]) -> Head:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    likely = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    taken = likely.argmax(axis=1)
    every = np.arange(len(truth))
    pairs, often = np.unique(np.stack([truth, taken], axis=1), axis=0, return_counts=True)
    order = np.argsort(likely[every, truth], kind="stable")
    wrong = order[taken[order] != truth[order]]
    worst = (wrong if len(wrong) else order)[:MOST_SHOWN]
    return Head(
        logits.shape[1],
        np.concatenate([pairs, often[:, None]], axis=1).astype(np.int64),
        np.stack([worst, truth[worst], taken[worst]], axis=1).astype(np.int64),
        np.exp(likely[worst, taken[worst]]),
        {name: array[worst].reshape(-1, *shape) for name, (array, shape) in inputs.items()},
    )


def histogram(raw: np.ndarray, averaged: np.ndarray | None) -> Histogram:
    """Return how the finite values of a variable, and of its average if it has one, are spread."""
    given = {"raw": raw} if averaged is None else {"raw": raw, "ema": averaged}
    values = {weights: _finite(value) for weights, value in given.items()}
    bins = min(BINS, max(8, 2 * math.isqrt(raw.size)))
    every = np.concatenate([*values.values()])
    low, high = (every.min(), every.max()) if every.size else (0.0, 1.0)
    largest = max(abs(low), abs(high))
    if high - low <= 1e-9 * largest:  # Too close together, or equal, to lie in parts of their own.
        low, high = low - 0.5 * (largest or 1.0), high + 0.5 * (largest or 1.0)
    edges = np.linspace(low, high, bins + 1)
    return Histogram(edges, {weights: np.histogram(value, edges)[0] for weights, value in values.items()})


def _finite(values: np.ndarray) -> np.ndarray:
    """Return at most ``MOST_VALUES`` finite values, evenly spread."""
    some = np.asarray(values, np.float64).ravel()[:: max(1, values.size // MOST_VALUES)]
    return some[np.isfinite(some)]

"""Training examples as read, preprocessed and augmented, collected for a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from expkit.config.schema import Config
from expkit.data.augment import FRACTION, PARTNER, Augmentation, AugmentedExamples, read_spec
from expkit.data.compute import computed
from expkit.data.dataset import Dataset
from expkit.errors import DataError, reading
from expkit.fs import atomic_write
from expkit.kinds.augment.base import Flattened
from expkit.kinds.evaluated import Labeled
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import rows_of
from expkit.network.spec import NetworkSpec

__all__ = ["DRAWS", "EXAMPLES", "ExampleRow", "ExampleSheet", "collect_examples"]

EXAMPLES = 8
"""Examples of a run's sheet."""
DRAWS = 4
"""Epochs whose augmented examples are shown."""
PIXELS = 256
"""Height and width up to which pixels are kept; of a larger image every second, third and so on."""
NUMBERS, LETTERS = 12, 90
"""Numbers and letters of a value that are shown."""

Values = Sequence[np.ndarray] | np.ndarray
"""Values of the examples of a sheet; their shapes may differ."""


@dataclass(frozen=True, kw_only=True)
class ExampleRow:
    """One example: its label, its images, its other fields as lines of text."""

    label: str
    images: Sequence[np.ndarray]
    """[height, width, 3], uint8, as many as the sheet has columns; sizes differ."""
    captions: Sequence[str]
    """Text under each image."""
    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class ExampleSheet:
    """Training examples, one in each row."""

    columns: Sequence[str]
    rows: Sequence[ExampleRow]
    examples: int
    """Number of training examples."""

    def save(self, path: Path) -> None:
        """Write into one ``.npz`` file, whole or not at all."""
        rows = [{"label": row.label, "captions": [*row.captions], "lines": [*row.lines]} for row in self.rows]
        facts = {"columns": [*self.columns], "examples": self.examples, "rows": rows}
        images = {
            f"row{number}/image{column}": image
            for number, row in enumerate(self.rows)
            for column, image in enumerate(row.images)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, durable=False) as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **images)

    @classmethod
    def load(cls, path: Path) -> ExampleSheet:
        """Read a file that ``save`` wrote.

        Raises:
            DataError: it is damaged.
        """
        with reading(str(path), "not readable", raises=DataError), np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            rows = [
                ExampleRow(
                    label=item["label"],
                    images=[arrays[f"row{number}/image{column}"] for column in range(len(facts["columns"]))],
                    captions=item["captions"],
                    lines=item["lines"],
                )
                for number, item in enumerate(facts["rows"])
            ]
            return cls(columns=facts["columns"], rows=rows, examples=facts["examples"])


def collect_examples(config: Config, spec: NetworkSpec, dataset: Dataset, count: int = EXAMPLES) -> ExampleSheet:
    """Return training examples, evenly spaced, as read, preprocessed, and as the first epochs see them.

    Args:
        config: the configuration.
        spec: the network.
        dataset: the data.
        count: number of examples, at least 1; at most all.
    """
    spec, train = spec.trained, dataset.splits["train"]
    size = dataset.size("train")
    chosen = np.unique(np.linspace(0, size - 1, min(count, size)).round().astype(np.int64))
    stages = _stages(config, spec, dataset, chosen)
    columns: list[str] = []
    images: list[tuple[str, Sequence[np.ndarray]]] = []
    texts: list[tuple[str, list[tuple[str, Values]]]] = []
    labels = _labels(config, spec)
    for name in train:
        found = list(stages.of(name))
        shapes = [_image_shape(config, name, values) for _, values in found]
        if None not in shapes:
            shown = [(stage, _pixels(values, shape)) for (stage, values), shape in zip(found, shapes, strict=True)]
            columns += [f"{name}, {stage}" for stage, _ in shown]
            images += shown
        elif name not in labels:
            texts.append((name, found))
    rows = [
        ExampleRow(
            label="\n".join([f"no. {index}", *(_label(dataset, name, train, index) for name in labels)]),
            images=[values[position] for _, values in images],
            captions=[stages.caption(dataset, labels, stage, position) for stage, _ in images],
            lines=[f"{name}: " + " → ".join(_text(values[position]) for _, values in found) for name, found in texts],
        )
        for position, index in enumerate(chosen.tolist())
    ]
    return ExampleSheet(columns=columns, rows=rows, examples=size)


@dataclass(frozen=True, kw_only=True)
class _Stages:
    """Values of the chosen examples, by stage and field."""

    read: Mapping[str, Sequence[np.ndarray]]
    preprocessed: Mapping[str, np.ndarray]
    augmented: Sequence[Mapping[str, np.ndarray]]
    """By epoch."""
    names: Sequence[str]
    """Fields that are augmented."""

    def of(self, name: str) -> Iterator[tuple[str, Values]]:
        """Yield the stages of a field: as read, preprocessed, and of each epoch."""
        yield "as read", self.read[name]
        if name in self.preprocessed:
            yield "preprocessed", self.preprocessed[name]
        if name in self.names:
            for epoch, fields in enumerate(self.augmented):
                yield f"epoch {epoch}", fields[name]

    def caption(self, dataset: Dataset, labels: Sequence[str], stage: str, position: int) -> str:
        """Return the labels of a mixed example with their fractions; of any other nothing."""
        fields = self.augmented[int(stage.split()[1])] if stage.startswith("epoch") else {}
        partnered = [name for name in labels if f"{PARTNER}{name}" in fields]
        if FRACTION not in fields or not partnered or (own := float(fields[FRACTION][position])) == 1:
            return ""
        first, second = (
            _named(dataset, partnered[0], fields[f"{start}{partnered[0]}"][position]) for start in ("", PARTNER)
        )
        return f"{own:.0%} {first}\n{1 - own:.0%} {second}"


def _stages(config: Config, spec: NetworkSpec, dataset: Dataset, chosen: np.ndarray) -> _Stages:
    train, raw = dataset.splits["train"], dataset.raw.get("train", {})
    plan = dataset.augmentation
    fields = [name for name in train if name in dataset.preprocessing]
    plain = Augmentation(
        steps=dict.fromkeys(fields, ()),
        specs={name: read_spec(spec, name, train, dataset.preprocessing) for name in fields},
        preprocessing={name: dataset.preprocessing[name] for name in fields},
        partnered=(),
        seed=config.run.seed,
    )
    epochs = [np.full(len(chosen), epoch) for epoch in range(DRAWS if plan is not None else 0)]
    return _Stages(
        read={name: _as_read(dataset, name, raw.get(name, train[name]), chosen) for name in train},
        preprocessed={
            name: values
            for name, values in _taken(train, plain, [(chosen, np.zeros_like(chosen))])[0].items()
            if name in fields
        },
        augmented=[] if plan is None else _taken(train, plan, [(chosen, epoch) for epoch in epochs]),
        names=[] if plan is None else list(plan.steps),
    )


def _taken(
    train: Fields, plan: Augmentation, wanted: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    source = AugmentedExamples(train, plan)
    try:
        return [source.take(indices, epochs) for indices, epochs in wanted]
    finally:
        source.close()


def _as_read(dataset: Dataset, name: str, array: Any, chosen: np.ndarray) -> Sequence[np.ndarray]:
    """Return values as the source gives them, of encoded images their pixels."""
    some = rows_of(array, chosen)
    steps = dataset.preprocessing.get(name)
    first = [*steps.kept, *steps.in_step][:1] if steps is not None else []
    if steps is None or not first or first[0].kind.kind != "decode_image":
        return [*some[:]]
    decoded = replace(steps, kept=first, in_step=(), kept_shape=None)
    return [image for _, batch in computed(decoded, some) for image in batch]


def _image_shape(config: Config, name: str, values: Values) -> tuple[int, int, int] | None:
    """Return height, width and channels of values that are images; ``None`` if they are none."""
    shape = np.asarray(values[0]).shape
    steps = [step for step in config.data.augment.get(name, ()) if isinstance(step, Flattened)]
    given = [step.shape for step in steps if step.shape is not None]
    if given and len(shape) == 1:
        return given[0]
    if steps and len(shape) == 2:
        return (*shape, 1)
    return None if np.asarray(values[0]).dtype.hasobject else config.data.source.image_shape(shape)


def _pixels(values: Values, shape: tuple[int, int, int] | None) -> list[np.ndarray]:
    """Return images as uint8 [height, width, 3]; other numbers are scaled from the range of most of them."""
    assert shape is not None
    images = [value.reshape(shape) if value.ndim != 3 else value for value in map(np.asarray, values)]
    low, high = np.percentile(np.concatenate([image.reshape(-1) for image in images]), (1, 99))
    span = float(high - low) or 1.0
    found = []
    for image in images:
        every = max(1, -(-max(image.shape[:2]) // PIXELS))
        image = image[::every, ::every, :3]
        if image.dtype != np.uint8:
            image = ((image.astype(np.float64) - low) / span * 255).round().clip(0, 255).astype(np.uint8)
        found.append(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)
    return found


def _labels(config: Config, spec: NetworkSpec) -> list[str]:
    """Return the fields that losses and metrics compare outputs with, those that the network reads aside."""
    readers = [item for item in config.train.readers.values() if isinstance(item, Labeled)]
    return list(dict.fromkeys(item.labels for item in readers if item.labels not in spec.inputs))


def _label(dataset: Dataset, name: str, fields: Fields, index: int) -> str:
    """Return the label of an example: the name of its class, or that of the field with its value."""
    value = _named(dataset, name, fields[name][index : index + 1][0])
    return value if name in dataset.classes else f"{name} {value}"


def _named(dataset: Dataset, name: str, value: Any) -> str:
    if name in dataset.classes and np.ndim(value) == 0:
        return dataset.classes[name].names[int(value)]
    return _text(value)


def _text(value: Any) -> str:
    """Return a value in a few words."""
    if isinstance(value, bytes):
        return _shortened(value.decode("utf-8", "replace"))
    values = np.asarray(value).reshape(-1)
    if values.dtype.hasobject:
        return _shortened(" ".join(item.decode("utf-8", "replace") for item in values[:NUMBERS].tolist()))
    words = [f"{item:.4g}" if isinstance(item, float) else str(item) for item in values[:NUMBERS].tolist()]
    more = f" … ({values.size:,})" if values.size > NUMBERS else ""
    return " ".join(words) + more


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LETTERS else f"{line[:LETTERS]}…"

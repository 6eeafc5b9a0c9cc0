"""The outputs of a draft's network: one for each column of labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from expkit.errors import DataError, Problem, unknown
from expkit.kinds.sources.on_disk import Array
from expkit.kinds.sources.strings import is_text
from expkit.starter.draft import YAML_WORDS, quoted
from expkit.starter.labels import as_words, check_labels, names_classes, shown_name

__all__ = [
    "OWN_NAMES",
    "Head",
    "check_columns",
    "class_lines",
    "fitted",
    "group_of",
    "head_layers",
    "head_of",
    "is_free",
    "of_folders",
    "output_lines",
    "plain_name",
    "sentence",
    "stratified",
    "train_lines",
    "with_names",
]

LABEL = "label"
"""Field of labels that the files of ``conf/train`` read."""
OWN_NAMES = {
    *("image", "numbers", "features", "hidden", "dropout", "flat", "logits", "prediction"),
    *(LABEL, "main", "accuracy", "mae", "file"),
}
"""Names that fields, layers, losses and metrics of a draft have."""
USUAL = 5
"""Largest mean and spread of numbers that a network of usual initial values reaches soon."""
SHARE = 0.15
"""Spread of weights of some tens of inputs, by which their sum has the spread of the labels."""
SHOWN = 20
"""Classes that are listed."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """An output and the labels that it predicts."""

    column: str
    field: str
    """Name of the labels' field."""
    output: str
    """Name of the output, and of its layer."""
    units: int
    counts: Mapping[str, int] | None
    """Examples by class; ``None`` where a number is predicted."""
    mean: float = 0.0
    variance: float = 1.0
    """Mean and variance of training examples' numbers."""


def check_columns(labels: Sequence[str], known: Collection[str], where: str) -> None:
    """Check that the columns to predict are there, each once.

    Raises:
        DataError: one is not, or is named twice.
    """
    problems = []
    for label in dict.fromkeys(labels):
        if label not in known:
            parts = [part.strip() for part in label.split(",")]
            message = unknown(f"no column '{label}' in {where}", label, known, label="columns")
            if len(parts) > 1 and {*parts} <= {*known}:
                message = f"no column '{label}' in {where}; give {' '.join(f'--label {part}' for part in parts)}"
            problems.append(Problem("--label", message))
        elif labels.count(label) > 1:
            problems.append(Problem("--label", f"column '{label}' is named twice; name each column once"))
    if problems:
        raise DataError(*problems)


def head_of(column: str, target: np.ndarray, *, numbered: bool) -> Head:
    """Return the only head for a column of labels.

    Args:
        column: its name.
        target: the labels of all examples.
        numbered: whether whole numbers that name classes are class numbers; otherwise they are read as text.

    Raises:
        DataError: an example has no label, or an infinite number.
    """
    check_labels(target, column)
    text = is_text(target.dtype)
    if names_classes(target) and (text or not numbered or target.min() >= 0):
        counts = Counter(as_words(target))
        units = len(counts) if text or not numbered else int(target.max()) + 1
        return Head(column=column, field=LABEL, output="logits", units=units, counts=counts)
    return Head(column=column, field=LABEL, output="prediction", units=1, counts=None)


def fitted(head: Head, training: Array) -> Head:
    """Return a head of numbers with the mean and the variance of those of the training examples."""
    if head.counts is not None:
        return head
    values = training[:].astype(np.float64)
    return replace(head, mean=float(values.mean()), variance=float(values.var()))


def of_folders(counts: Mapping[str, int]) -> Head:
    """Return the head of classes that are folders."""
    return Head(column=LABEL, field=LABEL, output="logits", units=len(counts), counts=counts)


def with_names(heads: Sequence[Head], taken: Collection[str] = (), *, fields: bool = False) -> list[Head]:
    """Return heads whose outputs are named as their columns, where there are several.

    Args:
        heads: the heads.
        taken: names of the network's inputs and layers.
        fields: name their fields, too.
    """
    if len(heads) == 1:
        return [*heads]
    named, used = [], {*OWN_NAMES, *taken}
    for number, head in enumerate(heads, start=1):
        name = plain_name(head.column)
        if not is_free(name, used):
            name = f"head_{name}" if name else f"head_{number}"
        if name in used:
            name = f"{name}_{number}"
        used.add(name)
        named.append(replace(head, output=name, field=name if fields else head.field))
    return named


def plain_name(column: str) -> str:
    """Return a column's name in lower case, with ``_`` for other characters than letters and digits."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_").lower()


def is_free(name: str, used: Collection[str]) -> bool:
    """Return whether a field or a layer can be called so."""
    return bool(re.fullmatch("[a-z][a-z0-9_]*", name)) and name not in YAML_WORDS and name not in used


def head_layers(heads: Sequence[Head]) -> list[str]:
    """Return the YAML of the heads' layers, which follow a dropout."""
    reads = "input: dropout, " if len(heads) > 1 else ""
    return [f"  {head.output}: {{kind: dense, {reads}units: {head.units}{_initialized(head)}}}" for head in heads]


def _initialized(head: Head) -> str:
    """Return initializers by which first predictions have the mean and spread of labels, if these are unusual.

    Steps of a usual learning rate would take long to numbers in the thousands.
    """
    usual = abs(head.mean) <= USUAL and 1 / USUAL <= head.variance**0.5 <= USUAL
    if head.counts is not None or usual or head.variance == 0:
        return ""
    kernel = f"{{kind: random_normal, stddev: {SHARE * head.variance**0.5:.3g}}}"
    return f", initializer: {{kernel: {kernel}, bias: {{kind: constant, value: {head.mean:.3g}}}}}"


def output_lines(heads: Sequence[Head]) -> list[str]:
    """Return the YAML of the network's outputs."""
    return ["outputs:", *(f"  {head.output}: {head.output}" for head in heads)]


def stratified(heads: Sequence[Head]) -> str | None:
    """Return the field of classes of which every part has its fraction: those of the first head that has any."""
    return next((quoted(head.field) if head.field != LABEL else head.field for head in heads if head.counts), None)


def class_lines(heads: Sequence[Head], seen: Mapping[str, Collection[str]]) -> list[str]:
    """Return the YAML of classes that are listed, because training examples have not all of them.

    Args:
        heads: the heads; the split is stratified by the classes of the first that has any.
        seen: by column the classes of training examples.
    """
    others = [head for head in heads if head.counts][1:]
    listed = [head for head in others if (head.counts or {}).keys() - {*seen[head.column]}]
    lines = [f"  {quoted(head.field)}: [{', '.join(map(quoted, sorted(head.counts or ())))}]" for head in listed]
    return ["classes:                     # no training example is of some of them", *lines] if lines else []


def group_of(heads: Sequence[Head]) -> str:
    """Return the file of ``conf/train`` that the experiment begins with."""
    return "classification" if any(head.counts is not None for head in heads) else "regression"


def train_lines(heads: Sequence[Head]) -> list[str]:
    """Return the losses and metrics that differ from those of the group: one for each of several heads."""
    if len(heads) == 1:
        (head,) = heads
        if head.field == LABEL:
            return []
        metric, field = "accuracy" if head.counts is not None else "mae", quoted(head.field)
        return [f"losses: {{main: {{labels: {field}}}}}", f"metrics: {{{metric}: {{labels: {field}}}}}"]
    losses, metrics = ["  main: null"], [f"  {'accuracy' if group_of(heads) == 'classification' else 'mae'}: null"]
    for head in heads:
        reads, note = f"output: {head.output}, labels: {quoted(head.field)}", ""
        if head.counts is not None:
            loss, metric, kind = f"kind: sparse_softmax_cross_entropy, {reads}", "accuracy", "accuracy"
        else:
            weight = f"{1 / head.variance:.3g}" if head.variance > 0 else "1"
            loss, (metric, kind) = (
                f"kind: mean_squared_error, {reads}, weight: {weight}",
                ("mae", "mean_absolute_error"),
            )
            note = "   # 1 / variance, so that losses count alike"
        losses.append(f"  {head.output}: {{{loss}}}{note}")
        metrics.append(f"  {head.output}_{metric}: {{kind: {kind}, {reads}}}")
    return ["best_metric: valid/loss", "losses:", *losses, "metrics:", *metrics]


def sentence(head: Head, target: np.ndarray) -> str:
    """Return a summary of a column of labels."""
    if head.counts is None:
        whole = target.dtype.kind == "f" and not (target % 1).any() and names_classes(target.astype(np.int64))
        fix = "; written as 1 in place of 1.0, its few whole numbers would name classes"
        return f"'{head.column}' is a number from {target.min():g} to {target.max():g}{fix if whole else ''}"
    shown = ", ".join(f"{shown_name(word)} {count:,}" for word, count in Counter(head.counts).most_common(SHOWN))
    return f"{len(head.counts)} classes of '{head.column}': {shown}"

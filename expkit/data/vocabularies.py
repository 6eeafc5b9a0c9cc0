"""Numbers that stand for words, against the rows that layers and steps have for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from expkit.data.preprocess import FieldPreprocessing
from expkit.errors import DataError, Problem
from expkit.kinds.layers.embedding import Embedding
from expkit.kinds.preprocess.base import Numbering
from expkit.kinds.preprocess.categories import OneHot
from expkit.kinds.sources.base import Fields
from expkit.kinds.sources.on_disk import scan
from expkit.network.spec import NetworkSpec

__all__ = ["check_numbers", "embedded_inputs", "vocabulary_warnings"]


def check_numbers(
    spec: NetworkSpec, preprocessing: Mapping[str, FieldPreprocessing], splits: Mapping[str, Fields]
) -> None:
    """Check that every number has a row, and that a vocabulary from a file has words of the training examples.

    Raises:
        DataError: a number has none, or no word of the examples is known.
    """
    problems = []
    told = set()
    for field, at, has, given in _declared(spec, preprocessing):
        if given > has:
            told.add(field)
            problems.append(
                Problem(
                    f"data.preprocess.{field}",
                    f"yields {given:,} different numbers, but {at} is {has:,}, so words would be lost; make it "
                    f"{given:,}, or the vocabulary smaller",
                )
            )
    for name, (path, rows) in embedded_inputs(spec).items():
        for split, fields in splits.items() if not told else ():
            if name in fields and fields[name].dtype.kind in "biu" and (problem := _outside(fields, name, rows)):
                message = f"{problem} in the {split} examples, but layer '{path}' has rows 0 to {rows - 1:,}"
                problems.append(Problem(f"data.source: field '{name}'", f"{message}; increase its input_dim"))
                break
    for item in preprocessing.values():
        numbering, values = _numbering(item), splits["train"].get(item.names[0])
        if numbering is None or values is None or values.dtype.kind not in "iu":
            continue
        if all(np.isin(batch, numbering.unknown).all() for _, batch in scan(values)):
            problems.append(
                Problem(
                    f"data.preprocess.{item.field}",
                    f"none of the {numbering.count - len(numbering.unknown):,} words of the vocabulary is in the "
                    "training examples; compare case, language and cutting of both",
                )
            )
    if problems:
        raise DataError(*problems)


def vocabulary_warnings(spec: NetworkSpec, preprocessing: Mapping[str, FieldPreprocessing]) -> Iterator[str]:
    """Yield a sentence about each layer or step that has rows for more words than there are."""
    for field, at, has, given in _declared(spec, preprocessing):
        if given < has:
            yield (
                f"preprocessing of '{field}' yields {given:,} different numbers, and {at} is {has:,}: "
                f"{has - given:,} are never used"
            )


def _declared(
    spec: NetworkSpec, preprocessing: Mapping[str, FieldPreprocessing]
) -> Iterator[tuple[str, str, int, int]]:
    """Yield for each step or layer that numbers meet its field, its setting, what this is, and how many they are."""
    embedded = embedded_inputs(spec)
    for field, item in preprocessing.items():
        steps = (*item.kept, *item.in_step)
        for number, step in enumerate(steps):
            if isinstance(step.kind, OneHot) and (before := _numbering(item, number)) is not None:
                yield field, f"data.preprocess.{field}.{number}.depth", step.kind.depth, before.count
        if (numbering := _numbering(item)) is not None and item.names[0] in embedded:
            path, rows = embedded[item.names[0]]
            yield field, f"input_dim of layer '{path}'", rows, numbering.count


def _numbering(item: FieldPreprocessing, before: int | None = None) -> Numbering | None:
    """Return the numbers that stand for words after the steps of a field, or before one of them."""
    numbering = None
    for step in (*item.kept, *item.in_step)[:before]:
        numbering = numbering if step.kind.keeps_numbering else step.kind.numbering(step.fitted)
    return numbering


def embedded_inputs(spec: NetworkSpec) -> dict[str, tuple[str, int]]:
    """Return by input that an embedding reads the path of the layer with the fewest rows, and their number."""
    found: dict[str, tuple[str, int]] = {}
    for layer in spec.layers:
        if isinstance(layer.layer, Embedding) and layer.inputs[0] in spec.inputs:
            name, rows = layer.inputs[0], layer.layer.input_dim
            found[name] = min(found.get(name, (layer.path, rows)), (layer.path, rows), key=lambda item: item[1])
    return found


def _outside(fields: Fields, name: str, rows: int) -> str | None:
    """Return the first number that has no row, and its example."""
    for indices, values in scan(fields[name]):
        bad = ((values < 0) | (values >= rows)).reshape(len(values), -1)
        if bad.any():
            first = int(bad.any(axis=1).argmax())
            number = int(values[first].reshape(-1)[bad[first].argmax()])
            return f"example {indices[first]} has the number {number:,}"
    return None
